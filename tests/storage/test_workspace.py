"""Finding datasets, runs, models and tokenizers by name or path."""

import os

import pytest

from charnn.errors import StorageError, UsageError
from charnn.storage import workspace
from charnn.storage.lock import Lock


def make(path, seconds):
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (seconds, seconds))
    return path


def test_default_is_the_newest(tmp_path) -> None:
    """Without an argument, the model or dataset written last is found."""
    make(tmp_path / "runs/a/model.safetensors", 200)
    newest = make(tmp_path / "runs/b/model.safetensors", 300)
    make(tmp_path / "data/x/meta.json", 200)
    make(tmp_path / "data/y/meta.json", 100)

    assert workspace.find_model(None, tmp_path / "runs") == newest
    assert workspace.find_run(None, tmp_path / "runs") == newest.parent
    assert workspace.find_dataset(None, tmp_path / "data") == tmp_path / "data/x"


def test_model_is_found_by_run_folder_or_file(tmp_path) -> None:
    """The name of a run, its folder and its model file find the same model."""
    model = make(tmp_path / "runs/a/model.safetensors", 1)

    for argument in ("a", str(model.parent), str(model)):
        assert workspace.find_model(argument, tmp_path / "runs") == model


def test_model_argument_finds_the_model(tmp_path) -> None:
    """It is the name of a run in the folder of runs, and otherwise the path."""
    runs, file = tmp_path / "runs", workspace.MODEL_FILE
    for path in (runs / "a" / file, tmp_path / "else" / "a" / file, tmp_path / "m.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        argument = workspace.model_argument(path, runs)

        assert workspace.find_model(argument, runs) == path
        assert (argument == "a") == (path.parent.parent == runs)


def test_misspelled_name_gets_a_suggestion(tmp_path) -> None:
    """The hint names the most similar dataset."""
    make(tmp_path / "data/shakespeare/meta.json", 1)
    with pytest.raises(UsageError) as caught:
        workspace.find_dataset("shakespere", tmp_path / "data")

    assert caught.value.hint == "did you mean shakespeare?"


@pytest.mark.parametrize(
    ("find", "remedy"),
    [
        (workspace.find_model, "train one: charnn prepare FILE && charnn train"),
        (workspace.find_dataset, "charnn prepare"),
    ],
)
def test_empty_folder_hints_at_the_command_to_run_first(tmp_path, find, remedy) -> None:
    """The hint is a command."""
    with pytest.raises(UsageError) as caught:
        find(None, tmp_path)

    assert caught.value.hint == remedy


def test_next_run_number_is_above_the_highest(tmp_path) -> None:
    """Gaps are not filled, and other names are ignored."""
    for name in ("d-lstm-001", "d-lstm-007", "d-gru-009", "d-lstm-x"):
        (tmp_path / name).mkdir()

    assert workspace.next_run_name(tmp_path, "d", "lstm") == "d-lstm-008"
    assert workspace.next_run_name(tmp_path / "none", "d", "lstm") == "d-lstm-001"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "../a",
        ".hidden",
        "-x",
        "a b",
        "a:b",
        "a*",
        "a\x1bb",
        "a\nb",
        "a\udce9",
    ],
)
def test_invalid_name_is_a_usage_error(name) -> None:
    """The hint states the rule. A name that begins with a dash would be read as an option."""
    with pytest.raises(UsageError, match="not a valid name") as caught:
        workspace.check_name(name)

    assert caught.value.hint.startswith("use letters, digits, - _ and . only")


@pytest.mark.parametrize(
    "name", ["a", "Run-2_b.c", "7", "_x", "été", "e\u0301te\u0301", "日記", "हिन्दी"]
)
def test_names_of_any_script_are_valid(name) -> None:
    """Letters, combining marks and digits."""
    assert workspace.check_name(name) == workspace.fit_name(name) == name


def test_default_run_name_is_valid_for_any_dataset(tmp_path) -> None:
    """Invalid characters in the name of a dataset are replaced in the name of the run."""
    name = workspace.next_run_name(tmp_path, ".caf\udce9\nb", "lstm")

    assert workspace.check_name(name) == "caf-b-lstm-001"


def test_folder_of_runs_is_read_from_the_environment(monkeypatch) -> None:
    """`charnn.load` uses CHARNN_RUNS_DIR, and runs/ if it is empty."""
    monkeypatch.setenv("CHARNN_RUNS_DIR", "elsewhere")
    assert str(workspace.runs_dir()) == "elsewhere"
    monkeypatch.setenv("CHARNN_RUNS_DIR", "")
    assert str(workspace.runs_dir()) == "runs"


def test_name_takes_precedence_over_path(tmp_path, monkeypatch) -> None:
    """This holds for datasets, runs and models."""
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


def test_tokenizer_is_found_by_name_or_path(tmp_path, monkeypatch) -> None:
    """The argument may be a dataset, a run, a model file or a tokenizer.json."""
    monkeypatch.chdir(tmp_path)
    tokenizer = make(tmp_path / "data/set/tokenizer.json", 200)
    model = make(tmp_path / "runs/run/model.safetensors", 200)
    files = {"set": tokenizer, "data/set": tokenizer, "data/set/tokenizer.json": tokenizer}
    files |= {"run": model, "runs/run": model, "runs/run/model.safetensors": model}

    for argument, file in files.items():
        found = workspace.find_tokenizer(argument, tmp_path / "data", tmp_path / "runs")
        assert found.resolve() == file, argument
    with pytest.raises(UsageError, match="no dataset, run or model 'nothing'"):
        workspace.find_tokenizer("nothing", tmp_path / "data", tmp_path / "runs")


def test_unknown_name_is_a_usage_error(tmp_path) -> None:
    """The hint names the most similar run."""
    make(tmp_path / "runs/lamp/model.safetensors", 200)
    with pytest.raises(UsageError, match="no dataset, run or model 'lam'") as caught:
        workspace.find_dataset_or_model("lam", tmp_path / "data", tmp_path / "runs")
    assert caught.value.hint == "did you mean lamp?"


def make_run(folder, name, dataset, log, seconds=1):
    """Write a run of a dataset with this last row of its log; return its model file."""
    model = make(folder / name / workspace.MODEL_FILE, seconds)
    (folder / name / workspace.CONFIG_FILE).write_text(f"cell: lstm\ndata: {dataset}\n")
    (folder / name / workspace.METRICS_FILE).write_text(log + "\n")
    (folder / name / workspace.CHECKPOINTS / "step-00000007").mkdir(parents=True)
    return model


FINISHED = '{"split": "val", "step": 9, "final": true}'
STOPPED = '{"split": "val", "step": 9}'


def test_default_model_is_of_a_finished_run(tmp_path) -> None:
    """A stopped run is used only if there is no other."""
    stopped = make_run(tmp_path, "b", "x", STOPPED, 300)
    assert workspace.find_model(None, tmp_path) == stopped

    finished = make_run(tmp_path, "a", "x", FINISHED, 200)
    assert workspace.find_model(None, tmp_path) == finished
    assert workspace.find_stopped_run(tmp_path) == stopped.parent


def test_name_of_a_dataset_stands_for_its_newest_run(tmp_path) -> None:
    """A run of that name comes first; runs of other datasets are not found."""
    make_run(tmp_path, "one", "lamp", FINISHED, 100)
    newest = make_run(tmp_path, "two", "lamp", FINISHED, 200)
    make_run(tmp_path, "three", "lamplight", FINISHED, 300)

    assert workspace.find_model("lamp", tmp_path) == newest
    assert workspace.find_run("lamp", tmp_path) == newest.parent
    lamp = make_run(tmp_path, "lamp", "other", FINISHED, 1)
    assert workspace.find_model("lamp", tmp_path) == lamp


def test_models_of_finished_runs_are_preferred(tmp_path) -> None:
    """The newest first, then those of stopped runs; the same for the runs of a dataset."""
    names = ("c", "a", "d", "b")
    for number, name in enumerate(names):
        make_run(tmp_path, name, "x", STOPPED if name in "ab" else FINISHED, 100 + number)

    for argument in (None, "x"):
        found = workspace.find_models(argument, tmp_path)
        assert [path.parent.name for path in found] == ["d", "c", "b", "a"]
    assert workspace.find_models("a", tmp_path) == [tmp_path / "a" / workspace.MODEL_FILE]


def test_steps_of_a_run(tmp_path) -> None:
    """All of a finished run; up to the checkpoint that a stopped run resumes from."""
    finished = make_run(tmp_path, "a", "x", FINISHED).parent
    stopped = make_run(tmp_path, "b", "x", STOPPED).parent

    assert workspace.trained_steps(finished) == 9
    assert workspace.trained_steps(stopped) == 7
    (stopped / workspace.CHECKPOINTS / "step-00000007").rmdir()
    assert workspace.trained_steps(stopped) == 9
    (stopped / workspace.METRICS_FILE).write_text("damaged")
    assert workspace.trained_steps(stopped) is None


def test_a_run_without_a_checkpoint_is_not_resumed(tmp_path) -> None:
    """A process that was killed before its first checkpoint leaves one."""
    stopped = make_run(tmp_path, "a", "x", STOPPED, 100).parent
    killed = make_run(tmp_path, "b", "x", STOPPED, 200).parent
    (killed / workspace.CHECKPOINTS / "step-00000007").rmdir()

    assert workspace.stopped_runs(tmp_path) == [stopped]


def test_a_run_is_not_a_dataset(tmp_path, monkeypatch) -> None:
    """Named by its name, folder or file; the hint has the two options that take a run."""
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs", "one", "x", FINISHED)
    arguments = ("one", "runs/one", "runs/one/model.safetensors", str(tmp_path / "runs" / "one"))
    for argument in arguments:
        with pytest.raises(UsageError) as caught:
            workspace.find_dataset(argument, tmp_path / "data", tmp_path / "runs")

        assert caught.value.message == f"{argument} is a run, not a dataset"
        assert "--resume one," in caught.value.hint
        assert caught.value.hint.endswith("--init-from one")
    with pytest.raises(UsageError) as caught:  # a run in another folder
        workspace.find_dataset("runs/one", tmp_path / "data", tmp_path / "other")
    assert "--init-from runs/one" in caught.value.hint


def test_a_model_file_is_not_a_dataset(tmp_path) -> None:
    """It is not prepared as a text either."""
    model = tmp_path / "m.safetensors"
    model.touch()
    with pytest.raises(UsageError) as caught:
        workspace.find_dataset(str(model), tmp_path / "data", tmp_path / "runs")

    assert caught.value.message == f"{model} is a model, not a dataset"
    assert caught.value.hint.endswith(f"--init-from {model}")


def test_all_runs_finished(tmp_path) -> None:
    """There is no run to resume: a UsageError."""
    make_run(tmp_path, "a", "x", FINISHED)
    with pytest.raises(UsageError, match="no stopped run"):
        workspace.find_stopped_run(tmp_path)


@pytest.mark.parametrize(("argument", "error"), [("no", UsageError), ("no/where", StorageError)])
def test_missing_name_and_missing_path_are_different_errors(tmp_path, argument, error) -> None:
    """Exit codes 2 and 74."""
    for find in (workspace.find_model, workspace.find_run, workspace.find_dataset):
        with pytest.raises(error):
            find(argument, tmp_path)


def test_a_text_file_is_not_a_dataset(tmp_path, monkeypatch) -> None:
    """The hint is the command that makes one of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.txt").touch()
    with pytest.raises(UsageError) as caught:
        workspace.find_dataset("one.txt", tmp_path / "data")

    assert caught.value.message == "one.txt is a file, not a dataset"
    assert caught.value.hint == "prepare it first: charnn prepare one.txt"


def test_a_dataset_is_not_a_model(tmp_path, monkeypatch) -> None:
    """By its path; the hint is its name if it has a run, else the command that trains one."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "data" / "x" / workspace.META_FILE, 1)
    with pytest.raises(UsageError, match="data/x is a dataset, not a model") as caught:
        workspace.find_models("data/x", tmp_path / "runs")
    assert caught.value.hint == "train a model of it: charnn train data/x"

    make_run(tmp_path / "runs", "one", "x", FINISHED)
    with pytest.raises(UsageError, match="data/x is a dataset, not a model") as caught:
        workspace.find_models("data/x", tmp_path / "runs")
    assert caught.value.hint == "charnn sample x takes its newest run"


def test_datasets_and_runs_are_suggested(tmp_path) -> None:
    """Where both are expected."""
    data, runs = tmp_path / "data", tmp_path / "runs"
    make(data / "book" / workspace.META_FILE, 1)
    make_run(runs, "one", "book", FINISHED)
    for argument, hint in (("nothing", "available: book, one"), ("bok", "did you mean book?")):
        with pytest.raises(UsageError, match="no dataset, run or model") as caught:
            workspace.find_dataset_or_model(argument, data, runs)
        assert caught.value.hint == hint


def test_folder_of_all_runs_is_not_a_run(tmp_path) -> None:
    """`charnn info runs` names the command that lists them."""
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="is the folder of all runs"):
        workspace.find_dataset_or_model(
            str(tmp_path / "runs"), tmp_path / "data", tmp_path / "runs"
        )


def test_running_run_is_not_resumed(tmp_path) -> None:
    """The newest stopped run is the newest one that no process holds."""
    stopped = make_run(tmp_path, "a", "x", STOPPED, 100)
    running = make_run(tmp_path, "b", "x", STOPPED, 200)
    with Lock(running.parent):
        assert workspace.find_stopped_run(tmp_path) == stopped.parent
