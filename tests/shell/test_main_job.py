"""End-to-end tests of prepare, train, eval, sample, info and plot."""

import json
import os
import signal
from xml.etree import ElementTree

import pytest
import yaml

from tests.shell.conftest import LAMP, QUICK


def test_commands_without_arguments_in_an_empty_folder(shell) -> None:
    """Each works, writes only results to stdout, and prints the next command."""
    prepared = shell.run("prepare")
    trained = shell.run("train", "--steps", "3", "--preset", "tiny")
    sampled = shell.run("sample", "--temp", "0.8", "-n", "50")

    assert prepared.stdout == ""
    assert trained.stdout.startswith("best model")
    assert prepared.stderr.endswith("next: charnn train\n")
    assert trained.stderr.endswith("next: charnn sample --temp 0.8\n")
    assert 50 <= len(sampled.stdout) <= 51
    assert sampled.stdout.endswith("\n")
    assert sampled.stderr.startswith("seed ")


def test_train_json_has_the_documented_keys(own) -> None:
    """It is one object, and the value of `val` has the keys of `eval --json`."""
    done = own.run("train", *QUICK, "--steps", "2", "--name", "json", "--json", "-q")
    result = json.loads(done.stdout)

    assert done.stderr == ""
    assert list(result) == [
        *("run", "steps", "epochs", "tokens", "seconds", "tokens_per_second"),
        *("parameters", "val", "best_step"),
    ]
    assert list(result["val"]) == [
        *("model", "text", "protocol", "tokens", "unknown", "coverage", "loss", "loss_stderr"),
        *("perplexity", "bits_per_char", "bits_per_byte", "bits_per_char_all"),
    ]
    assert (result["run"], result["steps"]) == ("json", 2)


def test_run_folder_has_the_documented_files(trained) -> None:
    """They are configuration, metrics of both splits, model and checkpoints."""
    run = trained.folder / "runs" / "lamp-lstm-001"
    config = yaml.safe_load((run / "config.yaml").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    assert sorted(p.name for p in run.iterdir()) == [
        *("checkpoints", "config.yaml", "metrics.jsonl", "model.safetensors"),
    ]
    assert (config["steps"], config["data"], config["hidden_size"]) == (40, "lamp", 128)
    assert {row["split"] for row in rows} == {"train", "val"}
    keys = {
        *("split", "step", "tokens", "epoch", "seconds", "loss", "perplexity", "bits_per_char"),
        *("lr", "grad_norm", "tokens_per_second"),
    }
    last = {row["split"]: set(row) for row in rows if "final" not in row}
    assert last == {"train": keys, "val": keys | {"coverage", "bits_per_char_all"}}
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000040"]


def test_eval_agrees_between_streams_and_input_files(trained) -> None:
    """The exact pass, parallel streams and the split as a file have the same loss."""
    val = (LAMP * 40)[int(len(LAMP * 40) * 0.9) :]
    trained.write("val.txt", val)
    default = json.loads(trained.run("eval", "lamp-lstm-001", "--json").stdout)
    exact = json.loads(trained.run("eval", "lamp-lstm-001", "--streams", "1", "--json").stdout)
    file = json.loads(trained.run("eval", "-m", "lamp-lstm-001", "val.txt", "--json").stdout)

    assert default["protocol"] == "carried"
    assert default["tokens"] == file["tokens"] == len(val)
    assert default["loss"] == pytest.approx(exact["loss"], abs=0.002)
    assert file["loss"] == pytest.approx(default["loss"], abs=1e-5)
    assert default["perplexity"] == pytest.approx(2.718281828 ** default["loss"], rel=1e-6)


def test_eval_in_windows(trained) -> None:
    """Windows score all tokens but the first and have a higher loss than the carried pass."""
    windows = json.loads(trained.run("eval", "lamp-lstm-001", "--windows", "8", "--json").stdout)
    carried = json.loads(trained.run("eval", "lamp-lstm-001", "--json").stdout)

    assert windows["protocol"] == "windows:8"
    assert windows["tokens"] == carried["tokens"] - 1
    assert windows["loss"] > carried["loss"]


def test_model_file_can_be_used_in_another_folder(trained, shell) -> None:
    """A copy gives the same samples and contains no path of the original folder."""
    model = trained.folder / "runs" / "lamp-lstm-001" / "model.safetensors"
    shell.write("copy.safetensors", model.read_bytes())
    copy = shell.run("sample", "copy.safetensors", "--seed", "5", "-n", "80", "-p", "The ")
    original = trained.run("sample", "lamp-lstm-001", "--seed", "5", "-n", "80", "-p", "The ")

    assert copy.stdout == original.stdout
    assert copy.stdout.startswith("The ")
    assert copy.stderr.startswith("model copy (step ")
    assert json.loads(shell.run("info", "copy.safetensors", "--json").stdout)["kind"] == "model"
    assert str(trained.folder).encode() not in model.read_bytes()


def test_info_describes_a_dataset_and_a_run(trained) -> None:
    """It has sizes, vocabulary, settings, and parameters with their textbook names."""
    dataset = json.loads(trained.run("info", "lamp", "--json").stdout)
    run = json.loads(trained.run("info", "lamp-lstm-001", "--json").stdout)
    text = trained.run("info", "lamp-lstm-001").stdout

    assert dataset["kind"] == "dataset"
    assert dataset["fingerprint"] == run["fingerprint"]
    assert run["parameters"] == sum(row["parameters"] for row in run["tensors"])
    for name in ("W_xi W_xf W_xg W_xo", "W_hq", "b_q", "hidden_size"):
        assert name in text


def test_plot_writes_png_svg_and_text(trained) -> None:
    """The file formats follow the suffix, and text in a pipe has no control codes."""
    trained.run("plot", "lamp-lstm-001", "-o", "curve.png")
    trained.run("plot", "lamp-lstm-001", "--x", "tokens", "-o", "curve.svg")
    text = trained.run("plot", "lamp-lstm-001").stdout
    wrong = trained.run("plot", "lamp-lstm-001", "-o", "curve.xyz", code=2)

    assert (trained.folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(trained.folder / "curve.svg").getroot().tag.endswith("svg")
    assert "loss" in text
    assert "\x1b" not in text
    assert ".png" in wrong.stderr


def test_corpora_lists_the_named_corpora(shell) -> None:
    """The list has the embedded and the downloadable corpora, with license and homepage."""
    listed = json.loads(shell.run("corpora", "--json").stdout)["corpora"]
    names = {row["name"] for row in listed}

    assert {"lamplighter", "places", "river_town"} <= {r["name"] for r in listed if r["embedded"]}
    assert {"tinyshakespeare", "timemachine", "ptb", "wikitext2", "text8", "enwik8"} <= names
    assert all(row["license"] for row in listed)
    assert all(row["homepage"] or row["embedded"] for row in listed)
    assert {row["name"] for row in listed if row["lines"]} == {"names", "places"}
    assert "tinyshakespeare" in shell.run("corpora").stdout


def test_resume_after_ctrl_c_is_bit_identical(shell) -> None:
    """The printed command resumes the run, and the weights equal those of a run without it."""
    shell.write("lamp.txt", LAMP * 40)
    shell.run("prepare", "lamp.txt")
    settings = (*QUICK, "--steps", "800", "--eval-every", "100", "--dropout", "0.2")
    process = shell.start("train", *settings, "--name", "interrupted", stderr=-1, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "val_loss" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(60) == 130
    process.stderr.close()
    assert "Traceback" not in rest
    command = rest.strip().splitlines()[-1].removeprefix("resume with: charnn ").split()

    shell.run(*command)
    shell.run("train", *settings, "--name", "uninterrupted")
    interrupted, uninterrupted = (
        json.loads(shell.run("info", name, "--json").stdout)
        for name in ("interrupted", "uninterrupted")
    )
    assert interrupted["sha256"] == uninterrupted["sha256"]
    steps = [
        json.loads(line)["step"]
        for line in (shell.folder / "runs/interrupted/metrics.jsonl").read_text().splitlines()
        if '"train"' in line
    ]
    assert steps == sorted(set(steps))
    assert steps[-1] == 800


def test_existing_run_is_not_overwritten(trained) -> None:
    """Training with the name of an existing run is a usage error that suggests --force."""
    refused = trained.run("train", "--name", "lamp-lstm-001", "--steps", "1", code=2)

    assert "already exists" in refused.stderr
    assert "--force" in refused.stderr


def test_resume_of_a_locked_run_is_an_error(own) -> None:
    """The exit code is 75, and the message has the PID of the process that holds the lock."""
    import fcntl

    with (own.folder / "runs/lamp-lstm-001/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"process {os.getpid()} on here\n")
        file.flush()
        refused = own.run("train", "--resume", "lamp-lstm-001", "--steps", "50", code=75)

    assert str(os.getpid()) in refused.stderr


def test_records_from_text_to_samples(shell) -> None:
    """A list of names is trained and evaluated name by name, and samples are one per line."""
    shell.write("names.txt", "anna\nbert\ncarla\ndora\nemil\n" * 60)
    prepared = json.loads(shell.run("prepare", "names.txt", "--lines", "--json").stdout)
    trained = shell.run("train", *QUICK, "--steps", "30", "--json")
    evaluated = json.loads(shell.run("eval", "--json").stdout)
    settings = yaml.safe_load((shell.folder / "runs/names-lstm-001/config.yaml").read_text())
    done = shell.run("sample", "--samples", "7", "--seed", "1")

    described = json.loads(shell.run("info", "data/names", "--json").stdout)
    assert described["record_counts"] == prepared["records"]
    assert prepared["records"] == {"train": 270, "val": 30, "val_in_train": 30, "removed": 0}
    assert settings["sampler"] == "records"
    assert evaluated["protocol"] == json.loads(trained.stdout)["val"]["protocol"] == "records"
    assert evaluated["loss"] == pytest.approx(json.loads(trained.stdout)["val"]["loss"], rel=1e-2)
    assert done.stdout.count("\n") == 7


def test_print_config_is_valid_for_config(own) -> None:
    """`--config` reads its output to the same settings, and no run is created."""
    before = sorted(path.name for path in (own.folder / "runs").iterdir())
    printed = own.run("train", "--preset", "tiny", "--lr", "1e-3", "--print-config").stdout
    own.write("again.yaml", printed)
    again = own.run("train", "--config", "again.yaml", "--print-config").stdout

    assert yaml.safe_load(printed)["lr"] == 1e-3
    assert again == printed
    assert sorted(path.name for path in (own.folder / "runs").iterdir()) == before


def test_init_from_sets_the_shape_of_the_network(own) -> None:
    """Without options, the shape is that of the other model and not that of the preset."""
    shape = ("--cell", "gru", "--hidden-size", "20", "--embedding-dim", "12", "--num-layers", "2")
    own.run("train", *shape, "--steps", "1", "--name", "first", "-q")
    given = ("--init-from", "first", "--steps", "1", "--print-config")
    settings = yaml.safe_load(own.run("train", *given).stdout)

    assert (settings["cell"], settings["num_layers"]) == ("gru", 2)
    assert (settings["hidden_size"], settings["embedding_dim"]) == (20, 12)


def test_init_from_maps_the_vocabulary_by_symbol(own) -> None:
    """Weights of symbols in both vocabularies are copied, whatever their ids."""
    own.write("other.txt", ("ZZZ " + LAMP) * 30)
    own.run("prepare", "other.txt")
    done = own.run(
        *("train", "other", "--init-from", "lamp-lstm-001", "--steps", "1", "--name", "other"),
        *("--lr", "1e-9", "--matrix-lr", "1e-9", "--precision", "float32"),
    )
    first = json.loads(own.run("eval", "other", "--json").stdout)

    assert "symbols are in the vocabulary of lamp-lstm-001" in done.stderr
    assert first["loss"] < 3.2
