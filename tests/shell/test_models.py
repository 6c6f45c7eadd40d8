"""Which arguments are models and which are texts; which model is used; `charnn list`."""

import json

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


def test_list_of_an_empty_folder(shell) -> None:
    """No error: there is nothing yet."""
    assert shell.run("list").stdout == "no datasets in data\nno runs in runs\n"


def test_the_shell_completes_names(own) -> None:
    """Of runs where a model is expected, of datasets where a dataset is."""
    for words, expected in (
        ("charnn sample la", RUN),
        ("charnn eval --model la", RUN),
        ("charnn train la", "lamp"),
        ("charnn info la", "lamp"),
    ):
        done = own.run(
            env={
                "_CHARNN_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            }
        )
        assert expected in done.stdout.split()


def test_info_of_a_dataset_names_the_run_of_the_same_name(own) -> None:
    """On stderr, with the command that describes the run."""
    (own.folder / "runs" / RUN).rename(own.folder / "runs" / "lamp")
    described = own.run("info", "lamp", "--json")

    assert json.loads(described.stdout)["kind"] == "dataset"
    assert described.stderr == "a run has this name too: charnn info runs/lamp\n"
    assert json.loads(own.run("info", "runs/lamp", "--json").stdout)["kind"] == "model"
