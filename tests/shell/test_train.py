"""`charnn train` at the shell: stdout, resuming, notes, and the closing row of the log."""

import json
import shutil
import time

import pytest

from charnn.storage.workspace import is_finished
from tests.shell.conftest import QUICK, Shell

RUN = "lamp-lstm-001"
STEPS = ("--steps", "3", *QUICK)


@pytest.fixture
def prepared(own) -> Shell:
    """A folder with a dataset and no run."""
    shutil.rmtree(own.folder / "runs")
    return own


def test_stdout_has_the_closing_table_if_it_is_no_terminal(prepared) -> None:
    """So that `charnn train > report.txt` keeps it; stderr does not repeat it."""
    done = prepared.run("train", *STEPS)

    assert done.stdout.startswith("best model")
    assert "\n\nsample of the best model\n  │ " in done.stdout
    assert f"model: runs/{RUN}/model.safetensors" in done.stdout
    assert " predicts the text better: train longer, with more --minutes" in done.stdout
    assert "best model" not in done.stderr
    assert f"training runs/{RUN} on dataset lamp\n" in done.stderr


def test_quiet_prints_the_path_of_the_model_alone(prepared) -> None:
    """A script can pass it on to another command."""
    done = prepared.run("train", *STEPS, "-q")

    assert done.stdout == f"runs/{RUN}/model.safetensors\n"
    assert done.stderr == ""


def test_something_is_printed_before_torch_is_loaded(prepared) -> None:
    """The first line comes long before the first step."""
    process = prepared.start("train", *STEPS, stderr=-1, stdout=-1, text=True)
    first = process.stderr.readline()
    at = time.monotonic()
    process.communicate()

    assert first.startswith("loading PyTorch")
    assert time.monotonic() - at > 0.3


def test_the_closing_score_is_the_last_row_of_the_log(own) -> None:
    """It is the score that the model file and `info` have, and marks the run as finished."""
    run = own.folder / "runs" / RUN
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    described = json.loads(own.run("info", RUN, "--json").stdout)

    assert [row.get("final") for row in rows] == [None] * (len(rows) - 1) + [True]
    assert rows[-1]["loss"] == described["metrics"]["val"]["loss"]
    assert rows[-1]["best_step"] == described["metrics"]["step"]
    assert is_finished(run)


def test_a_finished_run_is_not_resumed_without_more_to_do(own) -> None:
    """Exit code 2, a hint at what to change, and the log stays as it is."""
    log = own.folder / "runs" / RUN / "metrics.jsonl"
    before = log.read_bytes()
    done = own.run("train", "--resume", RUN, code=2)

    assert "is finished at step 40: nothing is left to do" in done.stderr
    assert "PyTorch" not in done.stderr
    assert "--steps" in done.stderr
    assert log.read_bytes() == before


def test_a_finished_run_with_more_steps_is_resumed(own) -> None:
    """The log has one closing row, that of the new end."""
    own.run("train", "--resume", RUN, "--steps", "42", "-q")
    log = own.folder / "runs" / RUN / "metrics.jsonl"
    final = [row for row in map(json.loads, log.read_text().splitlines()) if row.get("final")]

    assert [row["step"] for row in final] == [42]


def test_resume_without_a_value_takes_the_newest_stopped_run(own) -> None:
    """A finished run is none; without a stopped one, exit code 2."""
    refused = own.run("train", "--resume", code=2)
    own.run("train", *STEPS, "--name", "stopped", "-q")
    log = own.folder / "runs" / "stopped" / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    resumed = own.run("train", "--resume", "--steps", "4", "-q")

    assert "no stopped run in runs/" in refused.stderr
    assert resumed.stdout == "runs/stopped/model.safetensors\n"


def test_a_taken_name_is_refused_before_torch_is_loaded(own) -> None:
    """Exit code 2; --print-config writes nothing, so any name is fine."""
    refused = own.run("train", *STEPS, "--name", RUN, code=2)
    own.run("train", *STEPS, "--name", RUN, "--print-config")

    assert "already exists" in refused.stderr
    assert "PyTorch" not in refused.stderr


def test_a_resumed_run_is_named_with_its_step(own) -> None:
    """Before it trains."""
    done = own.run("train", "--resume", "--steps", "42", code=2)
    resumed = own.run("train", "--resume", "lamp", "--steps", "42")

    assert "no stopped run" in done.stderr
    assert f"resuming runs/{RUN} at step 40 (LSTM 1×128) for " in resumed.stderr


def test_init_from_with_another_network_is_refused(own) -> None:
    """Exit code 2 before anything is loaded, with the network of the model."""
    done = own.run("train", "--init-from", RUN, "--hidden-size", "64", code=2)

    assert "hidden_size 128" in done.stderr
    assert "--hidden-size 64" in done.stderr
    assert "PyTorch" not in done.stderr


def test_a_validation_text_without_known_symbols_is_no_validation(shell) -> None:
    """The run trains and keeps its last model, as without a validation split."""
    shell.write("short.txt", "abababababababababa§")
    shell.run("prepare", "short.txt", "--val-frac", "0.05", "-q")
    done = shell.run("train", *STEPS, "--json")

    assert json.loads(done.stdout)["val"] is None
    assert "nan" not in done.stderr
    assert "no validation: the dataset has no validation split, or only unknown" in done.stderr


def test_fine_tuning_names_the_model_it_starts_from(own) -> None:
    """Not the preset, whose network it does not have."""
    done = own.run("train", "--init-from", RUN, "--steps", "1", "--precision", "float32")

    assert f"weights of {RUN} (LSTM 1×128) for " in done.stderr
    assert "preset" not in done.stderr
