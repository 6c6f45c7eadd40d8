"""metrics.jsonl: append, read, and truncate for a resumed run."""

import pytest

from charnn.errors import DataError, StorageError
from charnn.training.metrics_log import METRICS_FILE, append_row, read_metrics, truncate_log

ROWS = [
    {"split": "train", "step": 10, "loss": 2.0},
    {"split": "val", "step": 10, "loss": 2.5},
    {"split": "train", "step": 20, "loss": 1.0},
    {"split": "val", "step": 20, "loss": 1.5},
]


@pytest.fixture
def folder(tmp_path):
    """Return a run with these rows."""
    for row in ROWS:
        append_row(tmp_path, row)
    return tmp_path


def test_rows_are_read_in_order(folder) -> None:
    """A value that is not finite is null."""
    append_row(folder, {"split": "train", "step": 30, "loss": float("inf")})

    assert read_metrics(folder) == [*ROWS, {"split": "train", "step": 30, "loss": None}]


def test_truncate_log_by_step_and_validation(folder) -> None:
    """A checkpoint can be older than the validation of its step."""
    truncate_log(folder, 20, 10)
    assert read_metrics(folder) == ROWS[:3]

    truncate_log(folder, 10, 10)
    assert read_metrics(folder) == ROWS[:2]


def test_truncate_log_removes_damaged_lines(folder) -> None:
    """A damaged line is an error in read_metrics, but does not prevent resuming."""
    with (folder / METRICS_FILE).open("a") as file:
        file.write('no JSON\n{"split": 1}\n{"split": "val"')
    with pytest.raises(DataError):
        read_metrics(folder)
    truncate_log(folder, 20, 20)

    assert read_metrics(folder) == ROWS


def test_folder_without_log_is_a_storage_error(tmp_path) -> None:
    """Truncating a missing log does nothing."""
    truncate_log(tmp_path, 1, 1)
    with pytest.raises(StorageError, match=r"metrics\.jsonl is missing"):
        read_metrics(tmp_path)
