"""Which arguments are models and which are texts; which model is used; `charnn list`."""

import json
import os
import shutil

import pytest

from charnn.cli import main
from charnn.storage.lock import Lock

RUN = "lamp-lstm-001"


def test_the_model_that_is_used_is_named_on_stderr(own) -> None:
    """With its step and its validation loss; --quiet silences it."""
    for command in (("sample", "-n", "1", "--seed", "1"), ("score", "lamp.txt"), ("eval",)):
        shown = own.run(*command).stderr
        quiet = own.run(*command, "-q").stderr

        assert f"model {RUN} (step 4" in shown or f"model {RUN} (step 3" in shown
        assert "val loss" in shown
        assert quiet == ""


def test_the_seed_is_on_the_same_line(own) -> None:
    """Only if it was chosen at random."""
    lines = own.run("sample", "-n", "1").stderr.splitlines()

    assert len(lines) == 1
    assert lines[0].startswith("seed ")
    assert f", model {RUN} (" in lines[0]


def test_a_single_text_is_scored_with_the_newest_model(own) -> None:
    """`score` and `eval` say that the argument is no model."""
    scored = own.run("score", "lamp.txt")
    measured = own.run("eval", "lamp.txt", "--json")

    assert scored.stdout.count("\n") == 120
    assert "lamp.txt is not a model" in scored.stderr
    assert json.loads(measured.stdout)["text"] == "lamp.txt"


def test_several_models_give_a_table(own) -> None:
    """A row for each model in the order of the arguments; JSON is one object."""
    file = f"runs/{RUN}/model.safetensors"
    table = own.run("eval", RUN, file, RUN).stdout.splitlines()
    result = json.loads(own.run("eval", RUN, file, "--json").stdout)

    assert table[0].split()[:2] == ["model", "text"]
    assert len(table) == 4
    assert [row["model"] for row in result["models"]] == [RUN, RUN]


def test_the_name_of_the_dataset_stands_for_its_run(own) -> None:
    """In every command that takes a model."""
    for command in (("sample", "lamp", "-n", "1"), ("score", "lamp", "lamp.txt"), ("eval", "lamp")):
        assert f"model {RUN} " in own.run(*command).stderr


def test_a_text_is_not_a_damaged_model(own) -> None:
    """The message does not frighten the owner of the text."""
    refused = own.run("sample", "lamp.txt", code=65).stderr

    assert "lamp.txt is not a charnn model" in refused
    assert "damaged" not in refused


def test_train_of_a_text_says_to_prepare_it(own) -> None:
    """The hint is the command."""
    assert "charnn prepare lamp.txt" in own.run("train", "lamp.txt", code=2).stderr


def test_list_shows_datasets_and_runs(own) -> None:
    """As tables, and as one JSON object with the same values."""
    text = own.run("list").stdout
    listed = json.loads(own.run("list", "--json").stdout)
    (run,), (dataset,) = listed["runs"], listed["datasets"]

    assert "lamp" in text
    assert "LSTM 1×128" in text
    assert (dataset["name"], dataset["path"]) == ("lamp", "data/lamp")
    assert (run["name"], run["dataset"], run["state"]) == (RUN, "lamp", "finished")
    assert run["bits_per_char"] > 0
    assert run["bytes"] > 0


def test_list_marks_the_defaults(own) -> None:
    """The dataset that `train` takes and the run that `sample` takes; here the newest."""
    shutil.copytree(own.folder / "data" / "lamp", own.folder / "data" / "old")
    shutil.copytree(own.folder / "runs" / RUN, own.folder / "runs" / "stopped")
    log = own.folder / "runs" / "stopped" / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    os.utime(own.folder / "data" / "old" / "meta.json", (1, 1))
    lines = own.run("list").stdout.splitlines()
    listed = json.loads(own.run("list", "--json").stdout)

    assert [line.split()[1] for line in lines if line.startswith("*")] == ["lamp", RUN]
    for kind, name in (("datasets", "lamp"), ("runs", RUN)):
        assert [row["name"] for row in listed[kind] if row["default"]] == [name]


def test_list_has_steps_and_dates(own) -> None:
    """The step of the kept model out of all steps; local time, in JSON ISO 8601 with the zone."""
    written = 1_700_000_000
    for path in (own.folder / "runs" / RUN).rglob("*"):
        os.utime(path, (written, written))
    row = json.loads(own.run("list", "--json").stdout)["runs"][0]
    shown = own.run("list", env={"TZ": "Asia/Tokyo"}).stdout.splitlines()[-1]

    assert row["steps"] == 40
    assert 0 < row["best_step"] <= 40
    assert row["written"] == "2023-11-14T22:13:20+00:00"
    assert f" {row['best_step']}/40 " in shown
    assert shown.endswith("2023-11-15 07:13")


def test_list_fits_into_100_columns(own) -> None:
    """With the names that charnn gives to the embedded corpus and its runs."""
    name = "lamplighter-lstm-001"
    (own.folder / "data" / "lamp").rename(own.folder / "data" / "lamplighter")
    (own.folder / "runs" / RUN).rename(own.folder / "runs" / name)
    lines = own.run("list").stdout.splitlines()

    assert any(line.startswith(f"*  {name}") for line in lines)
    assert max(map(len, lines)) <= 100


def test_damaged_runs_are_listed_and_not_the_default(own) -> None:
    """`list` names file and remedy on stderr; `sample` takes another run, with one note."""
    runs = own.folder / "runs"
    for name in ("truncated", "unset"):
        shutil.copytree(runs / RUN, runs / name)
    model = runs / "truncated" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-4])
    (runs / "unset" / "config.yaml").unlink()
    (runs / "unset" / "model.safetensors").touch()
    done, sampled = own.run("list", "--json"), own.run("sample", "-n", "1", "--seed", "1")
    rows = {row["name"]: row for row in json.loads(done.stdout)["runs"]}

    assert {name: row["state"] for name, row in rows.items()} == {
        RUN: "finished",
        "truncated": "damaged",
        "unset": "damaged",
    }
    assert [name for name, row in rows.items() if row["default"]] == [RUN]
    for name, file in (("truncated", "model.safetensors"), ("unset", "config.yaml")):
        assert f"runs/{name}/{file}" in rows[name]["problem"]
        assert f"charnn: warning: {rows[name]['problem']}\n" in done.stderr
    note, announced = sampled.stderr.splitlines()
    assert note.startswith("skipped damaged runs: ")
    assert {"truncated", "unset"} <= set(note.replace(",", "").split())
    assert announced.startswith(f"model {RUN} ")


def test_every_damaged_model_is_listed(own) -> None:
    """Also an older one than the default, and one with a changed weight."""
    runs = own.folder / "runs"
    shutil.copytree(runs / RUN, runs / "changed")
    path = runs / "changed" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    for seconds in (1, 2_000_000_000):
        os.utime(path, (seconds, seconds))
        rows = json.loads(own.run("list", "--json").stdout)["runs"]
        assert {row["name"]: row["state"] for row in rows} == {
            RUN: "finished",
            "changed": "damaged",
        }


@pytest.mark.parametrize("file", ["tokenizer.json", "train.bin", "val.bin"])
def test_a_damaged_dataset_is_listed_with_its_command(own, file) -> None:
    """`train` has the same hint. The date is that of the manifest."""
    before = json.loads(own.run("list", "--json").stdout)["datasets"][0]
    path = own.folder / "data" / "lamp" / file
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, (2_000_000_000, 2_000_000_000))
    row = json.loads(own.run("list", "--json").stdout)["datasets"][0]
    command = "charnn prepare lamp.txt --name lamp --force"

    assert (before["state"], row["state"]) == ("ready", "damaged")
    assert before["written"] == row["written"]
    assert f"data/lamp/{file} is damaged" in row["problem"]
    assert row["problem"].endswith(f"; prepare the same text again: {command}")
    assert f"hint: prepare the same text again: {command}" in own.run("train", code=65).stderr


def test_a_stopped_run_is_listed_with_its_planned_steps(own) -> None:
    """`steps` are those of its newest checkpoint."""
    log = own.folder / "runs" / RUN / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    config = log.with_name("config.yaml")
    config.write_text(config.read_text().replace("steps: 40", "steps: 1500"))
    row = json.loads(own.run("list", "--json").stdout)["runs"][0]

    assert (row["steps"], row["planned_steps"], row["state"]) == (40, 1500, "stopped")
    assert f" {row['best_step']}/1,500 " in own.run("list").stdout


@pytest.mark.parametrize(
    ("file", "text", "command", "said"),
    [
        ("metrics.jsonl", None, "plot", "metrics.jsonl is missing"),
        ("metrics.jsonl", "{}\nwords\n", "plot", "line 2 is damaged"),
        ("model.safetensors", None, "info", "has no saved model (model.safetensors)"),
        ("model.safetensors", "words", "info", "model.safetensors is not a charnn model"),
        ("config.yaml", None, "info", "config.yaml: No such file"),
        ("config.yaml", "words", "info", "config.yaml: line 1: no settings found"),
    ],
)
def test_damage_is_reported_with_a_remedy(
    own, monkeypatch, capfd, file, text, command, said
) -> None:
    """With the path of the file; a model without settings is described, with a warning."""
    monkeypatch.chdir(own.folder)
    path = own.folder / "runs" / RUN / file
    path.unlink() if text is None else path.write_text(text)
    code, shown = main([command, RUN]), capfd.readouterr().err

    assert said in shown
    assert f"runs/{RUN}" in shown
    assert ("hint: " in shown) == (code != 0)
    assert ("resumed" in shown) == (code == 0)


def test_list_of_an_empty_folder(shell) -> None:
    """No error: there is nothing yet."""
    assert shell.run("list").stdout == "no datasets in data\nno runs in runs\n"


@pytest.fixture
def completed(own, monkeypatch, capfd):
    """Return a function that completes the last word of a command line as bash does."""
    monkeypatch.chdir(own.folder)

    def complete(line, **environment):
        words = {"_CHARNN_COMPLETE": "complete_bash", "COMP_WORDS": line}
        words["COMP_CWORD"] = str(len(line.split(" ")) - 1)
        with monkeypatch.context() as patch:
            for name, value in {**words, **environment}.items():
                patch.setenv(name, value)
            main([])
        return capfd.readouterr().out.split()

    return complete


def test_the_shell_completes_names(completed) -> None:
    """Of runs and datasets, which stand for their newest run, where a model is expected."""
    for line, expected in (
        ("charnn sample la", ["lamp", RUN]),
        ("charnn eval --model la", [RUN]),
        ("charnn train la", ["lamp"]),
        ("charnn info la", ["lamp", RUN]),
        ("charnn sample x", []),
    ):
        assert completed(line) == expected


def test_completion_follows_the_folders_of_the_line(completed, own, monkeypatch) -> None:
    """--runs-dir and --data-dir, also with ~, then the environment."""
    (own.folder / "runs").rename(own.folder / "other")
    (own.folder / "data").rename(own.folder / "texts")
    monkeypatch.setenv("HOME", str(own.folder))

    assert completed("charnn sample ") == []
    assert completed("charnn sample --runs-dir other ") == [RUN]
    assert completed("charnn plot --runs-dir ~/other la") == [RUN]
    assert completed("charnn train --data-dir texts ") == ["lamp"]
    assert completed("charnn sample ", CHARNN_RUNS_DIR="other") == [RUN]
    assert completed("charnn train --runs-dir x ", CHARNN_DATA_DIR="texts") == ["lamp"]


def test_only_stopped_runs_are_completed_for_resume(completed, own) -> None:
    """Neither finished ones nor one in training."""
    for name in ("stopped", "running"):
        copy = own.folder / "runs" / name
        shutil.copytree(own.folder / "runs" / RUN, copy)
        log = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
        (copy / "metrics.jsonl").write_text("".join(log[:-1]))
    with Lock(own.folder / "runs" / "running"):
        assert completed("charnn train --resume ") == ["stopped"]
        assert completed("charnn train --init-from ") == [RUN, "running", "stopped"]


def test_info_of_a_dataset_names_the_run_of_the_same_name(own) -> None:
    """On stderr, with the command that describes the run."""
    (own.folder / "runs" / RUN).rename(own.folder / "runs" / "lamp")
    described = own.run("info", "lamp", "--json")

    assert json.loads(described.stdout)["kind"] == "dataset"
    assert described.stderr == "a run has this name too: charnn info runs/lamp\n"
    assert json.loads(own.run("info", "runs/lamp", "--json").stdout)["kind"] == "model"
