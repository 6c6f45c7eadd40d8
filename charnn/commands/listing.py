"""`charnn list`: the datasets and runs of the working folder."""

import contextlib
import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charnn.commands import options
from charnn.errors import CharnnError
from charnn.storage import workspace

Row = dict[str, Any]
DATASET_COLUMNS = ("name", "tokens", "tokenizer", "vocab_size", "state", "bytes", "written")
RUN_COLUMNS = ("name", "dataset", "model", "best_step", "bits_per_char", "state", "written")
COVERED = ("coverage", "bits_per_char_all")  # shown if a model does not cover its whole text
SCORES = ("bits_per_char", *COVERED)  # of the best model on its validation split
TITLES = {"bits_per_char": "bits/char", "bytes": "size", "vocab_size": "vocabulary"}
TITLES["bits_per_char_all"] = "bits/char of all"


@options.command()
def list_all(
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
) -> int:
    """List datasets and runs with their size, model and bits per character."""
    from charnn.display.messages import Display
    from charnn.display.stdout import Output, print_json

    datasets, runs = _datasets(data_dir), _runs(runs_dir)
    if json:
        print_json({"datasets": datasets, "runs": runs})
    else:
        output = Output()
        for line in _lines("datasets", data_dir, datasets, DATASET_COLUMNS, "charnn train"):
            output.line(line)
        for line in _lines("runs", runs_dir, runs, _run_columns(runs), "charnn sample"):
            output.line(line)
        output.flush()
    display = Display()
    for row in (*datasets, *runs):
        if row["problem"]:
            display.warning(row["problem"])
    return 0


def _run_columns(runs: Sequence[Row]) -> tuple[str, ...]:
    """Return the columns of runs, with the coverage if it is below 1 for any of them."""
    from charnn.display import humanize

    if not any(humanize.is_partial(run["coverage"]) for run in runs):
        return RUN_COLUMNS
    at = RUN_COLUMNS.index("bits_per_char") + 1
    return (*RUN_COLUMNS[:at], *COVERED, *RUN_COLUMNS[at:])


def _datasets(folder: Path) -> list[Row]:
    """Return a row for each dataset; the one that `charnn train` takes is the default."""
    names = workspace.names_in(folder, workspace.META_FILE)
    default = workspace.find_dataset(None, folder) if names else None
    return [{**_dataset(path), "default": path == default} for path in map(folder.joinpath, names)]


def _dataset(folder: Path) -> Row:
    """Return the row of a dataset, from its manifest; values that are missing there are None.

    The tokenizer and the sizes of the splits are checked, not their hashes, which takes longer.
    """
    from charnn.data.dataset import check_files, prepare_again, read_meta

    row: Row = {"name": folder.name, "tokens": None, "tokenizer": None, "vocab_size": None}
    problem = None
    try:
        meta = read_meta(folder)
        row["tokens"] = sum(split["tokens"] for split in meta["splits"].values())
        row["tokenizer"] = meta["tokenizer"]["kind"]
        row["vocab_size"] = meta["tokenizer"]["vocab_size"]
        check_files(folder, meta)
    except CharnnError as error:
        problem = _problem(error)
    except (KeyError, TypeError, AttributeError):
        problem = f"{folder / workspace.META_FILE} is damaged; prepare the same text again: "
        problem += prepare_again(folder)
    row["state"] = "damaged" if problem else "ready"
    return {**row, **_files(folder, workspace.META_FILE), "problem": problem}


def _runs(folder: Path) -> list[Row]:
    """Return a row for each run; the one that `charnn sample` takes is the default."""
    from charnn.model.runs import open_model

    default = None
    with contextlib.suppress(CharnnError):  # no model can be read
        default = open_model(None, folder).path.parent
    names = workspace.names_in(folder, *workspace.RUN_FILES)
    return [{**_run(path), "default": path == default} for path in map(folder.joinpath, names)]


def _run(folder: Path) -> Row:
    """Return the row of a run; without a model that can be read, its values are None."""
    from charnn.model.model_file import read_summary
    from charnn.model.runs import recorded_settings, run_damage
    from charnn.storage.lock import is_locked

    row: Row = dict.fromkeys(("dataset", "model", "best_step", *SCORES))
    with contextlib.suppress(CharnnError):
        config, metrics, training = read_summary(folder / workspace.MODEL_FILE)
        row["dataset"] = training.get("data")
        row["model"] = f"{config.cell.upper()} {config.num_layers}×{config.hidden_size}"
        row["best_step"] = metrics.get("step")
        row |= {name: (metrics.get("val") or {}).get(name) for name in SCORES}
    damage = run_damage(folder)
    state = "stopped" if workspace.is_stopped(folder) else "finished"
    if is_locked(folder):
        state = "running"
    elif damage:
        state = "damaged"
    problem = _problem(damage) if damage and state == "damaged" else None
    row["steps"] = row["planned_steps"] = workspace.trained_steps(folder)
    if state != "finished":
        with contextlib.suppress(CharnnError):
            row["planned_steps"] = recorded_settings(folder).get("steps") or row["steps"]
    files = _files(folder, *workspace.RUN_FILES)
    return {"name": folder.name, **row, "state": state, **files, "problem": problem}


def _problem(error: CharnnError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _files(folder: Path, *dated: str) -> Row:
    """Return the size of the files in a folder, when one of `dated` was written, and the path."""
    stats: dict[Path, os.stat_result] = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # a training replaces files meanwhile
            stats |= {path: path.stat()} if path.is_file() else {}
    latest = max(
        (stats[folder / name].st_mtime for name in dated if folder / name in stats), default=0
    )
    written = datetime.datetime.fromtimestamp(latest, datetime.UTC)
    return {
        "bytes": sum(stat.st_size for stat in stats.values()),
        "written": written.isoformat(timespec="seconds"),
        "path": str(folder),
    }


def _lines(
    title: str, folder: Path, rows: Sequence[Row], columns: Sequence[str], command: str
) -> list[str]:
    """Return the lines of a table, in which * marks the default of a command."""
    from charnn.display.messages import table

    if not rows:
        return [f"no {title} in {folder}"]
    headers = [TITLES.get(name, name.replace("_", " ")) for name in columns]
    cells = [["*" * row["default"], *(_cell(name, row) for name in columns)] for row in rows]
    return [f"{title} in {folder} (* default of {command})", table(["", *headers], cells)]


def _cell(name: str, row: Row) -> str:
    from charnn.display import humanize

    value = row[name]
    if name == "best_step":
        steps = [row["best_step"], row["planned_steps"]]
        return "/".join("-" if step is None else f"{step:,}" for step in steps)
    if value is None:
        return "-"
    if name == "bytes":
        return humanize.size(value)
    if name == "written":
        return f"{datetime.datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return humanize.percent(value) if name == "coverage" else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
