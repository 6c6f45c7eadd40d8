"""`charnn list`: the datasets and runs of the working folder."""

from pathlib import Path
from typing import Any

from charnn.commands import options
from charnn.storage import workspace

COVERED = ("coverage", "bits_per_char_all")  # shown if a model does not cover its whole text
SCORES = ("bits_per_char", *COVERED)  # of the best model on its validation split


@options.command()
def list_all(
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
) -> int:
    """List datasets and runs with their size, model and bits per character."""
    from charnn.display import humanize
    from charnn.display.messages import table
    from charnn.display.stdout import Output, print_json

    datasets = [_dataset(data_dir / n) for n in workspace.names_in(data_dir, workspace.META_FILE)]
    runs = [_run(runs_dir / n) for n in workspace.names_in(runs_dir, workspace.CONFIG_FILE)]
    if json:
        print_json({"datasets": datasets, "runs": runs})
        return 0
    if not any(humanize.is_partial(run["coverage"]) for run in runs):
        runs = [{name: run[name] for name in run if name not in COVERED} for run in runs]
    output = Output()
    for title, rows in (("datasets", datasets), ("runs", runs)):
        if rows:
            cells = [[_cell(name, value) for name, value in row.items()] for row in rows]
            output.line(table([name.replace("_", " ") for name in rows[0]], cells, title=title))
        else:
            folder = data_dir if title == "datasets" else runs_dir
            output.line(f"no {title} in {folder}")
    output.flush()
    return 0


def _dataset(folder: Path) -> dict[str, Any]:
    """Return the row of a dataset, from its manifest; values that are missing there are None."""
    from charnn.errors import CharnnError
    from charnn.storage.atomic import read_bytes
    from charnn.storage.jsonio import parse_json_object

    try:
        path = folder / workspace.META_FILE
        meta = parse_json_object(read_bytes(path), str(path))
        splits, tokenizer = meta["splits"].values(), meta["tokenizer"]
        values = {
            "tokens": sum(split["tokens"] for split in splits),
            "tokenizer": tokenizer["kind"],
            "vocab_size": tokenizer["vocab_size"],
            "state": "ready",
        }
    except (CharnnError, KeyError, TypeError, AttributeError):
        values = {"tokens": None, "tokenizer": None, "vocab_size": None, "state": "damaged"}
    return {"name": folder.name, **values, "bytes": _size(folder), "path": str(folder)}


def _run(folder: Path) -> dict[str, Any]:
    """Return the row of a run; without a model file, the values of the model are None."""
    from charnn.errors import CharnnError
    from charnn.model.model_file import read_summary
    from charnn.storage.lock import is_locked

    values: dict[str, Any] = dict.fromkeys(("dataset", "model", "step", *SCORES))
    stopped = "stopped" if workspace.is_stopped(folder) else "finished"
    state = "running" if is_locked(folder) else stopped
    path = folder / workspace.MODEL_FILE
    if path.is_file():
        try:
            config, metrics, training = read_summary(path)
            values = {
                "dataset": training.get("data"),
                "model": f"{config.cell.upper()} {config.num_layers}×{config.hidden_size}",
                "step": metrics.get("step"),
                **{name: (metrics.get("val") or {}).get(name) for name in SCORES},
            }
        except CharnnError:
            state = "damaged"
    return {
        "name": folder.name,
        **values,
        "state": state,
        "bytes": _size(folder),
        "path": str(folder),
    }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _cell(name: str, value: Any) -> str:
    from charnn.display import humanize

    if value is None:
        return "-"
    if name == "bytes":
        return humanize.size(value)
    if isinstance(value, float):
        return humanize.percent(value) if name == "coverage" else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
