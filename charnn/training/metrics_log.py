"""Append to, read and truncate metrics.jsonl, with one JSON object per logged step."""

import contextlib
from pathlib import Path
from typing import Any

from charnn.errors import DataError, StorageError
from charnn.storage import atomic, jsonio
from charnn.storage.workspace import FINAL, METRICS_FILE


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """Append a JSON object. Raise OSError if the log cannot be written."""
    with (folder / METRICS_FILE).open("a", encoding="utf-8") as file:
        file.write(jsonio.to_json(row) + "\n")


def truncate_log(folder: Path, step: int, evaluated_at: int) -> None:
    """Remove rows after `step`, validations after `evaluated_at`, the final row, damaged lines.

    Raise StorageError if the log cannot be written.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return
    last = {"train": step, "val": evaluated_at}
    kept = []
    for line in atomic.read_bytes(path).split(b"\n")[:-1]:
        with contextlib.suppress(DataError):
            row = jsonio.parse_json_object(line, METRICS_FILE)
            at, split = row.get("step"), row.get("split")
            is_kept = isinstance(at, int) and isinstance(split, str) and at <= last.get(split, -1)
            if is_kept and FINAL not in row:
                kept.append(jsonio.to_json(row) + "\n")
    atomic.write_file(path, "".join(kept).encode())


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return all complete rows of a run.

    Raise StorageError if the log cannot be read, DataError if it is damaged.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        raise StorageError(
            f"{path} is missing", "without it a run has no learning curves; name another run"
        )
    try:
        return jsonio.read_json_lines(path)
    except DataError as error:
        raise DataError(error.message, "remove this line from the file") from None
