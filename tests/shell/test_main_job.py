"""prepare, train, eval, sample, info and plot, end to end."""

import json
import os
import signal
from xml.etree import ElementTree

import pytest
import yaml

from tests.shell.conftest import LAMP


def test_three_bare_commands_in_an_empty_folder(shell) -> None:
    """Each works without arguments, keeps stdout for results, and names the next one."""
    prepared = shell.run("prepare")
    trained = shell.run("train", "--steps", "3", "--preset", "tiny")
    sampled = shell.run("sample", "--temp", "0.8", "-n", "50")

    assert prepared.stdout == trained.stdout == ""
    assert prepared.stderr.endswith("next: charnn train\n")
    assert trained.stderr.endswith("next: charnn sample --temp 0.8\n")
    assert 50 <= len(sampled.stdout) <= 51
    assert sampled.stdout.endswith("\n")
    assert sampled.stderr.startswith("seed ")


def test_train_json_is_one_object_with_the_promised_keys(trained) -> None:
    """run, steps, epochs, tokens, seconds, …, and the validation as `eval --json` prints it."""
    done = trained.run(
        "train", "--steps", "2", "--preset", "tiny", "--name", "json", "--json", "-q"
    )
    result = json.loads(done.stdout)

    assert done.stderr == ""
    assert list(result) == [
        *("run", "steps", "epochs", "tokens", "seconds", "tokens_per_second"),
        *("parameters", "val", "best_step"),
    ]
    assert list(result["val"]) == [
        *("model", "text", "protocol", "tokens", "unknown", "loss", "loss_stderr"),
        *("perplexity", "bits_per_char", "bits_per_byte"),
    ]
    assert (result["run"], result["steps"]) == ("json", 2)


def test_a_run_folder_holds_what_the_contract_says(trained) -> None:
    """config.yaml repeats the run; metrics.jsonl has both splits; the model stands alone."""
    run = trained.folder / "runs" / "lamp-lstm-001"
    config = yaml.safe_load((run / "config.yaml").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    assert sorted(p.name for p in run.iterdir()) == [
        *("checkpoints", "config.yaml", "metrics.jsonl", "model.safetensors"),
    ]
    assert (config["steps"], config["data"], config["hidden_size"]) == (40, "lamp", 128)
    assert {row["split"] for row in rows} == {"train", "val"}
    assert set(rows[0]) == {
        *("split", "step", "tokens", "epoch", "seconds", "loss", "perplexity", "bits_per_char"),
        *("lr", "grad_norm", "tokens_per_second"),
    }
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000040"]


def test_eval_agrees_with_itself_and_with_the_run(trained) -> None:
    """One literal pass, parallel streams, and the split given as a file: the same loss."""
    val = (LAMP * 40)[int(len(LAMP * 40) * 0.9) :]
    trained.write("val.txt", val)
    whole = json.loads(trained.run("eval", "lamp-lstm-001", "--json").stdout)
    literal = json.loads(trained.run("eval", "lamp-lstm-001", "--streams", "1", "--json").stdout)
    file = json.loads(trained.run("eval", "-m", "lamp-lstm-001", "val.txt", "--json").stdout)

    assert whole["protocol"] == "carried"
    assert whole["tokens"] == file["tokens"] == len(val)
    assert whole["loss"] == pytest.approx(literal["loss"], abs=0.002)
    assert file["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    assert whole["perplexity"] == pytest.approx(2.718281828 ** whole["loss"], rel=1e-6)


def test_eval_in_windows_names_its_protocol(trained) -> None:
    """Cold windows score all tokens but the first, a little worse."""
    cold = json.loads(trained.run("eval", "lamp-lstm-001", "--windows", "8", "--json").stdout)
    carried = json.loads(trained.run("eval", "lamp-lstm-001", "--json").stdout)

    assert cold["protocol"] == "windows:8"
    assert cold["tokens"] == carried["tokens"] - 1
    assert cold["loss"] > carried["loss"]


def test_a_model_file_works_alone_and_elsewhere(trained, shell) -> None:
    """Copied away, it samples the same and knows what it is."""
    model = trained.folder / "runs" / "lamp-lstm-001" / "model.safetensors"
    shell.write("mailed.safetensors", model.read_bytes())
    here = shell.run("sample", "mailed.safetensors", "--seed", "5", "-n", "80", "-p", "The ")
    there = trained.run("sample", "lamp-lstm-001", "--seed", "5", "-n", "80", "-p", "The ")

    assert here.stdout == there.stdout
    assert here.stdout.startswith("The ")
    assert here.stderr == ""
    assert json.loads(shell.run("info", "mailed.safetensors", "--json").stdout)["kind"] == "model"
    assert str(trained.folder).encode() not in model.read_bytes()


def test_info_tells_what_a_dataset_and_a_run_are(trained) -> None:
    """Sizes, vocabulary, settings, and parameters under the textbooks' names."""
    dataset = json.loads(trained.run("info", "lamp", "--json").stdout)
    run = json.loads(trained.run("info", "lamp-lstm-001", "--json").stdout)
    text = trained.run("info", "lamp-lstm-001").stdout

    assert dataset["kind"] == "dataset"
    assert dataset["fingerprint"] == run["fingerprint"]
    assert run["parameters"] == sum(row["parameters"] for row in run["tensors"])
    for name in ("W_xi W_xf W_xg W_xo", "W_hq", "b_q", "hidden_size"):
        assert name in text


def test_plot_writes_pictures_and_draws_in_a_pipe(trained) -> None:
    """PNG and SVG are what they say, and a terminal drawing has no control codes."""
    trained.run("plot", "lamp-lstm-001", "-o", "curve.png")
    trained.run("plot", "lamp-lstm-001", "--x", "tokens", "-o", "curve.svg")
    drawn = trained.run("plot", "lamp-lstm-001").stdout
    wrong = trained.run("plot", "lamp-lstm-001", "-o", "curve.xyz", code=2)

    assert (trained.folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(trained.folder / "curve.svg").getroot().tag.endswith("svg")
    assert "loss" in drawn
    assert "\x1b" not in drawn
    assert ".png" in wrong.stderr


def test_corpora_lists_the_catalogue(shell) -> None:
    """The embedded texts and the well-known ones, with sizes and licences."""
    listed = json.loads(shell.run("corpora", "--json").stdout)["corpora"]
    names = {row["name"] for row in listed}

    assert {"lamplighter", "places", "river_town"} <= {r["name"] for r in listed if r["embedded"]}
    assert {"tinyshakespeare", "timemachine", "ptb", "wikitext2", "text8", "enwik8"} <= names
    assert all(row["license"] for row in listed)
    assert all(row["homepage"] or row["embedded"] for row in listed)
    assert {row["name"] for row in listed if row["lines"]} == {"names", "places"}
    assert "tinyshakespeare" in shell.run("corpora").stdout


def test_ctrl_c_saves_and_the_printed_command_resumes_to_the_same_model(shell) -> None:
    """Interrupted and resumed, the weights are those of the uninterrupted run."""
    shell.write("lamp.txt", LAMP * 40)
    shell.run("prepare", "lamp.txt")
    settings = ("--preset", "tiny", "--steps", "300", "--dropout", "0.2", "--threads", "1")
    settings += ("--precision", "float32")  # else it is measured, which may go this way or that
    process = shell.start("train", *settings, "--name", "broken", stderr=-1, text=True)
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
    shell.run("train", *settings, "--name", "whole")
    broken, whole = (
        json.loads(shell.run("info", name, "--json").stdout) for name in ("broken", "whole")
    )
    assert broken["sha256"] == whole["sha256"]
    steps = [
        json.loads(line)["step"]
        for line in (shell.folder / "runs/broken/metrics.jsonl").read_text().splitlines()
        if '"train"' in line
    ]
    assert steps == sorted(set(steps))
    assert steps[-1] == 300


def test_a_second_run_gets_the_next_number_and_nothing_is_overwritten(trained) -> None:
    """A taken name is refused with exit code 2."""
    refused = trained.run("train", "--name", "lamp-lstm-001", "--steps", "1", code=2)

    assert "exists already" in refused.stderr
    assert "--force" in refused.stderr


def test_two_at_once_in_one_folder_is_refused(trained) -> None:
    """The second `train --resume` gets 75 with the PID of the first."""
    import fcntl

    with (trained.folder / "runs/lamp-lstm-001/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"process {os.getpid()} on here\n")
        file.flush()
        refused = trained.run("train", "--resume", "lamp-lstm-001", "--steps", "50", code=75)
    (trained.folder / "runs/lamp-lstm-001/.lock").unlink()

    assert str(os.getpid()) in refused.stderr


def test_records_are_sampled_one_by_one(shell) -> None:
    """From a list of names come N names, one a line."""
    shell.write("names.txt", "anna\nbert\ncarla\ndora\nemil\n" * 60)
    shell.run("prepare", "names.txt", "--lines")
    shell.run("train", "--preset", "tiny", "--steps", "30", "-q")
    done = shell.run("sample", "--samples", "7", "--seed", "1")

    assert done.stdout.count("\n") == 7


def test_print_config_is_a_config_that_can_be_fed_back(trained) -> None:
    """What it prints, `--config` reads to the same settings; nothing is trained."""
    before = sorted(path.name for path in (trained.folder / "runs").iterdir())
    printed = trained.run("train", "--preset", "tiny", "--lr", "1e-3", "--print-config").stdout
    trained.write("again.yaml", printed)
    again = trained.run("train", "--config", "again.yaml", "--print-config").stdout

    assert yaml.safe_load(printed)["lr"] == 1e-3
    assert again == printed
    assert sorted(path.name for path in (trained.folder / "runs").iterdir()) == before


def test_a_run_that_begins_with_weights_has_their_shape(trained) -> None:
    """Without a flag; the preset would have chosen another."""
    shape = ("--cell", "gru", "--hidden-size", "20", "--embedding-dim", "12", "--num-layers", "2")
    trained.run("train", *shape, "--steps", "1", "--name", "first", "-q")
    given = ("--init-from", "first", "--steps", "1", "--print-config")
    settings = yaml.safe_load(trained.run("train", *given).stdout)

    assert (settings["cell"], settings["num_layers"]) == ("gru", 2)
    assert (settings["hidden_size"], settings["embedding_dim"]) == (20, 12)


def test_weights_of_another_vocabulary_are_mapped_by_symbol(trained) -> None:
    """--init-from carries over the letters that both know, whatever their numbers."""
    trained.write("other.txt", ("ZZZ " + LAMP) * 30)
    trained.run("prepare", "other.txt")
    done = trained.run(
        *("train", "other", "--init-from", "lamp-lstm-001", "--steps", "1", "--name", "other"),
        *("--lr", "1e-9", "--matrix-lr", "1e-9"),
    )
    first = json.loads(trained.run("eval", "other", "--json").stdout)

    assert "symbols are in its vocabulary" in done.stderr
    assert first["loss"] < 3.2
