"""The folder of a run: creation, replacement, metrics log."""

import json
import math

import pytest

from charnn.config import TrainConfig
from charnn.errors import BusyError, StorageError, UsageError
from charnn.evaluation.metrics import Score
from charnn.storage.lock import Lock
from charnn.storage.settings_file import read_settings
from charnn.storage.workspace import CONFIG_FILE
from charnn.training.events import Evaluation, Step
from charnn.training.metrics_log import METRICS_FILE, read_metrics
from charnn.training.run_folder import RunFolder

STEP = Step(10, 20, 640, 0.5, 1.0, 2.0, 1e-3, 0.7, 640.0, mean_loss=2.5)
SCORE = Score(nats=6.0, tokens=2, chars=4, bytes=4, unknown=1, unknown_chars=1, charge=9.0)


@pytest.fixture
def folder(tmp_path):
    """Return a new run with two characters per token."""
    run = RunFolder(tmp_path / "runs" / "one", chars_per_token=2.0)
    run.create(force=False)
    return run


def test_run_is_replaced_only_with_force(folder) -> None:
    """The files of the old run are removed."""
    folder.write_config(TrainConfig(steps=3))
    with pytest.raises(UsageError, match="already exists"):
        folder.create(force=False)
    assert read_settings(folder.path / CONFIG_FILE, TrainConfig)["steps"] == 3

    folder.create(force=True)
    assert list(folder.path.iterdir()) == []


def test_foreign_files_and_locked_runs_are_not_replaced(folder) -> None:
    """The error names the file, or the process."""
    (folder.path / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"thesis\.txt"):
        folder.create(force=True)
    (folder.path / "thesis.txt").unlink()

    for force in (True, False):
        with Lock(folder.path), pytest.raises(BusyError, match="in use"):
            folder.create(force=force)


def test_a_folder_that_vanished_is_an_error_of_its_own(folder) -> None:
    """It was removed or renamed; the path is not misspelt."""
    folder.path.rename(folder.path.with_name("elsewhere"))
    for write in (lambda: folder.log(STEP), lambda: folder.write_config(TrainConfig())):
        with pytest.raises(StorageError, match="was removed or renamed") as caught:
            write()
        assert "--resume" in caught.value.hint


def test_logged_steps_and_validations_become_rows(folder) -> None:
    """Other steps are not written. Bits are per character; only validations have a coverage."""
    folder.log(STEP)
    folder.log(Step(11, 20, 704, 0.6, 1.1, 2.0, 1e-3, 0.7, 640.0))
    folder.log(Evaluation(20, 1280, 1.0, 2.0, SCORE, best=True))
    train, val = read_metrics(folder.path)

    assert (train["split"], train["step"], train["loss"]) == ("train", 10, 2.5)
    assert train["bits_per_char"] == pytest.approx(2.5 / 2 / 0.6931, rel=1e-3)
    assert (val["split"], val["loss"], val["lr"]) == ("val", 3.0, None)
    assert val["bits_per_char"] == pytest.approx(6 / 4 / 0.6931, rel=1e-3)
    assert val.keys() - train.keys() == {"coverage", "bits_per_char_all"}
    assert (val["coverage"], val["bits_per_char_all"]) == (0.8, pytest.approx(3 / math.log(2)))


def test_log_failure_is_reported_once(folder) -> None:
    """Training continues."""
    (folder.path / METRICS_FILE).mkdir()
    warned = folder.log(STEP)

    assert warned is not None
    assert METRICS_FILE in warned.message
    assert folder.log(STEP) is None


def test_row_is_one_line_of_json(folder) -> None:
    """Other programs can read the log during training."""
    folder.log(STEP)
    line = (folder.path / METRICS_FILE).read_text()

    assert line.endswith("}\n")
    assert json.loads(line)["seconds"] == 1.0
