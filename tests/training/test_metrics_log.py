"""The metrics log: rows are appended, read, and cut back to the step that a run resumes from."""

import pytest

from charnn.errors import DataError, StorageError
from charnn.training.metrics_log import METRICS_FILE, append_row, cut_back, read_metrics

ROWS = [
    {"split": "train", "step": 10, "loss": 2.0},
    {"split": "val", "step": 10, "loss": 2.5},
    {"split": "train", "step": 20, "loss": 1.0},
    {"split": "val", "step": 20, "loss": 1.5},
]


@pytest.fixture
def folder(tmp_path):
    """A run with these rows."""
    for row in ROWS:
        append_row(tmp_path, row)
    return tmp_path


def test_rows_are_read_in_the_order_they_were_appended(folder) -> None:
    """A value that is not finite is null."""
    append_row(folder, {"split": "train", "step": 30, "loss": float("inf")})

    assert read_metrics(folder) == [*ROWS, {"split": "train", "step": 30, "loss": None}]


def test_a_log_is_cut_back_to_a_step_and_a_validation(folder) -> None:
    """The checkpoint may be older than the last validation at its step."""
    cut_back(folder, 20, 10)
    assert read_metrics(folder) == ROWS[:3]

    cut_back(folder, 10, 10)
    assert read_metrics(folder) == ROWS[:2]


def test_damaged_lines_and_an_incomplete_last_line_are_cut(folder) -> None:
    """They are no reason to refuse to resume; to read them is an error."""
    with (folder / METRICS_FILE).open("a") as file:
        file.write('no JSON\n{"split": 1}\n{"split": "val"')
    with pytest.raises(DataError):
        read_metrics(folder)
    cut_back(folder, 20, 20)

    assert read_metrics(folder) == ROWS


def test_a_folder_without_a_log_is_not_a_run(tmp_path) -> None:
    """To cut back a log that does not exist does nothing."""
    cut_back(tmp_path, 1, 1)
    with pytest.raises(StorageError, match="is not a run"):
        read_metrics(tmp_path)
