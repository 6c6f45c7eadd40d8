"""Where datasets, runs and models are found, and what is newest."""

import os

import pytest

from charnn.errors import StorageError, UsageError
from charnn.storage import workspace


def make(path, seconds):
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (seconds, seconds))
    return path


def test_without_a_name_the_newest_counts(tmp_path) -> None:
    """The model file written last, and the dataset prepared last."""
    make(tmp_path / "runs/a/model.safetensors", 200)
    newest = make(tmp_path / "runs/b/model.safetensors", 300)
    make(tmp_path / "data/x/meta.json", 200)
    make(tmp_path / "data/y/meta.json", 100)

    assert workspace.find_model(None, tmp_path / "runs") == newest
    assert workspace.find_run(None, tmp_path / "runs") == newest.parent
    assert workspace.find_dataset(None, tmp_path / "data") == tmp_path / "data/x"


def test_a_model_is_named_by_run_folder_or_file(tmp_path) -> None:
    """All three mean the same file."""
    model = make(tmp_path / "runs/a/model.safetensors", 1)

    for argument in ("a", str(model.parent), str(model)):
        assert workspace.find_model(argument, tmp_path / "runs") == model


def test_what_names_a_model_finds_it(tmp_path) -> None:
    """The name of a run in the folder of the runs; otherwise the path, as for a mailed file."""
    runs, file = tmp_path / "runs", workspace.MODEL_FILE
    for path in (runs / "a" / file, tmp_path / "else" / "a" / file, tmp_path / "m.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        argument = workspace.model_argument(path, runs)

        assert workspace.find_model(argument, runs) == path
        assert (argument == "a") == (path.parent.parent == runs)


def test_a_near_miss_gets_a_suggestion(tmp_path) -> None:
    """`shakespere` is close to `shakespeare`."""
    make(tmp_path / "data/shakespeare/meta.json", 1)
    with pytest.raises(StorageError) as caught:
        workspace.find_dataset("shakespere", tmp_path / "data")

    assert caught.value.hint == "did you mean shakespeare?"


@pytest.mark.parametrize(
    ("find", "remedy"),
    [(workspace.find_model, "charnn train"), (workspace.find_dataset, "charnn prepare")],
)
def test_an_empty_folder_names_the_command_to_run_first(tmp_path, find, remedy) -> None:
    """Nothing there yet: the hint can be typed."""
    with pytest.raises(StorageError) as caught:
        find(None, tmp_path)

    assert caught.value.hint == remedy


def test_runs_are_numbered_above_the_highest(tmp_path) -> None:
    """A gap is not filled, other names do not count."""
    for name in ("d-lstm-001", "d-lstm-007", "d-gru-009", "d-lstm-x"):
        (tmp_path / name).mkdir()

    assert workspace.next_run_name(tmp_path, "d", "lstm") == "d-lstm-008"
    assert workspace.next_run_name(tmp_path / "none", "d", "lstm") == "d-lstm-001"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", ".hidden", "a\x1bb", "a\nb", "a\udce9"]
)
def test_a_name_is_one_plain_folder(name) -> None:
    """No path, no control characters, no bytes that are not UTF-8, nothing hidden."""
    with pytest.raises(UsageError):
        workspace.check_name(name)


def test_a_run_of_an_odd_dataset_has_a_name_that_can_be_written(tmp_path) -> None:
    """Nobody gave a --name that could be blamed."""
    name = workspace.next_run_name(tmp_path, ".caf\udce9\n", "lstm")

    assert workspace.check_name(name) == "caf\ufffd\ufffd-lstm-001"


def test_the_folder_of_runs_comes_from_the_environment(monkeypatch) -> None:
    """Or is runs/; for `charnn.load`, which has no flag."""
    monkeypatch.setenv("CHARNN_RUNS_DIR", "elsewhere")
    assert str(workspace.runs_dir()) == "elsewhere"
    monkeypatch.setenv("CHARNN_RUNS_DIR", "")
    assert str(workspace.runs_dir()) == "runs"


def test_a_name_wins_over_a_path(tmp_path, monkeypatch) -> None:
    """For datasets, runs and models alike."""
    monkeypatch.chdir(tmp_path)
    named = make(tmp_path / "runs/a/model.safetensors", 200)
    data = make(tmp_path / "data/a/meta.json", 200)
    other = make(tmp_path / "b/model.safetensors", 200)
    make(tmp_path / "a/model.safetensors", 300)
    (tmp_path / "a/meta.json").write_text("{}")
    runs, datasets = tmp_path / "runs", tmp_path / "data"

    assert workspace.find_model("a", runs) == named
    assert workspace.find_run("a", runs) == named.parent
    assert workspace.find_dataset("a", datasets) == data.parent
    assert workspace.find_dataset_or_model("a", datasets, runs) == data.parent
    assert workspace.find_dataset_or_model("b", datasets, runs).resolve() == other
    assert workspace.find_dataset_or_model(None, datasets, runs) == named


def test_a_tokenizer_is_found_by_name_or_path(tmp_path, monkeypatch) -> None:
    """That of a dataset, a run, a model file or a tokenizer.json."""
    monkeypatch.chdir(tmp_path)
    tokenizer = make(tmp_path / "data/set/tokenizer.json", 200)
    model = make(tmp_path / "runs/run/model.safetensors", 200)
    files = {"set": tokenizer, "data/set": tokenizer, "data/set/tokenizer.json": tokenizer}
    files |= {"run": model, "runs/run": model, "runs/run/model.safetensors": model}

    for argument, file in files.items():
        found = workspace.find_tokenizer(argument, tmp_path / "data", tmp_path / "runs")
        assert found.resolve() == file, argument
    with pytest.raises(StorageError, match="no dataset, run or model 'nothing'"):
        workspace.find_tokenizer("nothing", tmp_path / "data", tmp_path / "runs")


def test_what_is_nothing_is_refused(tmp_path) -> None:
    """With the nearest name of a run."""
    make(tmp_path / "runs/lamp/model.safetensors", 200)
    with pytest.raises(StorageError, match="no dataset, run or model 'lam'") as caught:
        workspace.find_dataset_or_model("lam", tmp_path / "data", tmp_path / "runs")
    assert caught.value.hint == "did you mean lamp?"
