"""metrics.jsonl: one JSON object a logged step; appended while training, read by whoever plots.

Never knows: what the numbers mean.
"""

from pathlib import Path
from typing import Any

from charnn import files
from charnn.errors import StorageError

METRICS_FILE = "metrics.jsonl"


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """Add one object. Raises OSError."""
    with (folder / METRICS_FILE).open("a", encoding="utf-8") as file:
        file.write(files.to_json(row) + "\n")


def cut_back(folder: Path, step: int) -> None:
    """Keep what had happened by `step`; a torn last line goes too. Raises StorageError."""
    path = folder / METRICS_FILE
    if path.is_file():
        kept = [row for row in files.read_json_lines(path) if row.get("step", 0) <= step]
        files.write_file(path, "".join(files.to_json(row) + "\n" for row in kept).encode())


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All complete rows of a run. Raises StorageError or DataError."""
    path = folder / METRICS_FILE
    if not path.is_file():
        raise StorageError(f"{folder} is not a run: it has no {METRICS_FILE}", "charnn train")
    return files.read_json_lines(path)
