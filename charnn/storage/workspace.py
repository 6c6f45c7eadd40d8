"""Find datasets, runs and models by name or path."""

import difflib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from charnn.errors import CharnnError, StorageError, UsageError
from charnn.escape import REPLACEMENT
from charnn.storage.lock import Lock, is_locked

META_FILE = "meta.json"
TOKENIZER_FILE = "tokenizer.json"
MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
MARKERS = (META_FILE, TOKENIZER_FILE, MODEL_FILE, CONFIG_FILE, METRICS_FILE)
FINAL = "final"  # key of the last row of METRICS_FILE in a finished run: its closing score
LONGEST_ROW = 4096  # bytes of a row of METRICS_FILE, more than any
DATA_DIR = "data"
RUNS_DIR = "runs"
DATA_VARIABLE, RUNS_VARIABLE = "CHARNN_DATA_DIR", "CHARNN_RUNS_DIR"  # environment variables
TRAIN_ONE = "train one: charnn prepare FILE && charnn train"  # hint where there is no model
NOT_IN_NAMES = r"[\x00-\x1f\ud800-\udfff]"  # control characters, bytes that are not UTF-8


def data_dir() -> Path:
    """Return the folder of datasets for the Python API: CHARNN_DATA_DIR, by default data/."""
    return Path(os.environ.get(DATA_VARIABLE) or DATA_DIR)


def runs_dir() -> Path:
    """Return the folder of runs for the Python API: CHARNN_RUNS_DIR, by default runs/."""
    return Path(os.environ.get(RUNS_VARIABLE) or RUNS_DIR)


def check_name(name: str) -> str:
    """Return `name`. Raise UsageError if it is not valid as the name of a folder in UTF-8."""
    if re.search(rf"^$|^[.-]|[/\\]|{NOT_IN_NAMES}", name):
        raise UsageError(
            f"--name {name!r} is not a valid name",
            "use letters, digits, ., - and _, and begin with a letter or a digit",
        )
    return name


def fit_name(name: str) -> str:
    """Return a name that `check_name` accepts, with U+FFFD for characters that it does not."""
    return re.sub(rf"[/\\]|{NOT_IN_NAMES}", REPLACEMENT, name).lstrip(".-")


def find_dataset(argument: str | None, folder: Path) -> Path:
    """Return the folder of a dataset, given by name or path; by default the newest dataset.

    Raise UsageError for a name, StorageError for a path that does not exist.
    """
    if argument is None:
        return _newest(_all(folder, META_FILE), folder, "dataset", "charnn prepare").parent
    found = _find(argument, folder, _has(META_FILE))
    if found is None:
        raise _missing("dataset", argument, folder, META_FILE)
    return found


def find_run(argument: str | None, folder: Path) -> Path:
    """Return the folder of a run, given by name or path; by default that of the newest model.

    The name of a dataset stands for its newest run. Raise UsageError for a name, StorageError for a
    path that does not exist.
    """
    if argument is None:
        return find_model(None, folder).parent
    found = _find(argument, folder, Path.is_dir) or _newest_run_of(argument, folder, CONFIG_FILE)
    if found is None:
        raise _missing("run", argument, folder, CONFIG_FILE)
    return found


def refuse_existing_run(folder: Path) -> None:
    """Raise UsageError if a run exists, BusyError if another process is writing it."""
    if not folder.is_dir():
        return
    if is_locked(folder):
        with Lock(folder):  # raises an error that names the owner
            pass
    raise UsageError(
        f"{folder} already exists", "give another --name, --resume it, or replace it with --force"
    )


def find_stopped_run(folder: Path) -> Path:
    """Return the newest run that is neither finished nor running. Raise UsageError if none is."""
    runs = {path.parent for path in folder.glob(f"*/{CONFIG_FILE}")}
    stopped = [path for path in runs if not is_finished(path) and not is_locked(path)]
    if not stopped:
        raise UsageError(f"no stopped run in {folder}{os.sep}", "name the run: --resume RUN")
    return max(stopped, key=lambda path: ((path / CONFIG_FILE).stat().st_mtime_ns, path.name))


def is_finished(run: Path) -> bool:
    """Return whether a run has reached its end, as the last row of its log says."""
    try:
        with (run / METRICS_FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_ROW))
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
        row = json.loads(last)
    except (OSError, ValueError):
        return False
    return isinstance(row, dict) and row.get(FINAL) is True


def find_model(argument: str | None, folder: Path) -> Path:
    """Return a model file, given by the name or path of its run or by its own path.

    The name of a dataset stands for its newest run. The default is the newest model of a finished
    run, or of a stopped run if there is no other. Raise UsageError for a name, StorageError for a
    path that does not exist.
    """
    if argument is None:
        found = _all(folder, MODEL_FILE)
        finished = [path for path in found if not is_stopped(path.parent)]
        return _newest(finished or found, folder, "model", TRAIN_ONE)
    has_model = _has(MODEL_FILE)
    run = _find(argument, folder, has_model) or _newest_run_of(argument, folder, MODEL_FILE)
    if run:
        return run / MODEL_FILE
    if Path(argument).is_file():
        return Path(argument)
    if _find(argument, folder, Path.is_dir):
        raise UsageError(
            f"{argument} has no saved model ({MODEL_FILE})",
            "name a run that has been validated, or a model file (charnn list shows all)",
        )
    raise _missing("model", argument, folder, MODEL_FILE)


def is_stopped(run: Path) -> bool:
    """Return whether a run was stopped before its end; one without a log counts as finished."""
    return (run / METRICS_FILE).exists() and not is_finished(run)


def _newest_run_of(dataset: str, folder: Path, file: str) -> Path | None:
    """Return the newest run of a dataset that has a file; None if there is none."""
    line = re.compile(rf"^data: (['\"]?){re.escape(dataset)}\1$", re.MULTILINE)
    found = [
        path
        for path in _all(folder, file)
        if (path.parent / CONFIG_FILE).is_file()
        and line.search((path.parent / CONFIG_FILE).read_text("utf-8", "replace"))
    ]
    finished = [path for path in found if not is_stopped(path.parent)]
    return max(finished or found, key=_age).parent if found else None


def find_dataset_or_model(argument: str | None, data_dir: Path, runs_dir: Path) -> Path:
    """Return the folder of a dataset or the file of a model; by default the newest model.

    Raise UsageError for a name, StorageError for a path that does not exist.
    """
    for what, folder in (("datasets", data_dir), ("runs", runs_dir)):
        if argument and folder.is_dir() and Path(argument).resolve() == folder.resolve():
            raise UsageError(
                f"{argument} is the folder of all {what}",
                "name one of them; charnn list shows them",
            )
    dataset = _find(argument, data_dir, _has(META_FILE)) if argument else None
    if dataset:
        return dataset
    try:
        return find_model(argument, runs_dir)
    except (StorageError, UsageError) as error:
        if argument is None:
            raise
        raise type(error)(f"no dataset, run or model {argument!r}", error.hint) from None


def find_tokenizer(argument: str, data_dir: Path, runs_dir: Path) -> Path:
    """Return the file that contains a tokenizer: a tokenizer.json or a model file.

    The argument is the name or path of a dataset or run, or the path of such a file. Raise
    UsageError for a name, StorageError for a path that does not exist.
    """
    folder = _find(argument, data_dir, _has(TOKENIZER_FILE))
    return (
        folder / TOKENIZER_FILE if folder else find_dataset_or_model(argument, data_dir, runs_dir)
    )


def is_dataset_or_run(folder: Path) -> bool:
    """Return whether a folder is a dataset or a run, as its files show."""
    has = {name: (folder / name).is_file() for name in MARKERS}
    is_run = has[CONFIG_FILE] and (has[METRICS_FILE] or has[MODEL_FILE])
    return is_run or (has[META_FILE] and has[TOKENIZER_FILE])


def _find(argument: str, folder: Path, is_wanted: Callable[[Path], bool]) -> Path | None:
    """Return `folder / argument` or else the path `argument`; None if neither is wanted."""
    return next((path for path in (folder / argument, Path(argument)) if is_wanted(path)), None)


def _has(file: str) -> Callable[[Path], bool]:
    return lambda folder: (folder / file).is_file()


def model_name(path: Path) -> str:
    """Return the name of a model: the name of its run, or the file name without its suffix."""
    return path.parent.resolve().name if path.name == MODEL_FILE else path.stem


def model_argument(path: Path, folder: Path) -> str:
    """Return the command-line argument for a model: its run in the folder of runs, or its path."""
    name = model_name(path)
    is_run = (folder / name / MODEL_FILE).resolve() == path.resolve()
    return name if is_run else str(path)


def next_run_name(folder: Path, dataset: str, cell: str) -> str:
    """Return DATA-CELL-NNN, numbered one above the highest existing number."""
    dataset = fit_name(dataset)
    pattern = re.compile(re.escape(f"{dataset}-{cell}-") + r"(\d+)")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    taken = [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
    return f"{dataset}-{cell}-{max(taken, default=0) + 1:03d}"


def names_in(folder: Path, file: str) -> list[str]:
    """Return the names of the datasets or runs in a folder, those that have a file, sorted."""
    return sorted(path.parent.name for path in _all(folder, file))


def _all(folder: Path, file: str) -> list[Path]:
    return [path for path in folder.glob(f"*/{file}") if not path.parent.name.startswith(".")]


def _age(path: Path) -> tuple[int, str]:
    """Return what orders files from the oldest to the newest."""
    return path.stat().st_mtime_ns, path.parent.name


def _newest(found: list[Path], folder: Path, what: str, remedy: str) -> Path:
    if not found:
        raise UsageError(f"no {what} in {folder}{os.sep}", remedy)
    return max(found, key=_age)


def _missing(what: str, argument: str, folder: Path, file: str) -> CharnnError:
    """Return the error for an argument that names nothing, with the nearest name there is."""
    names = names_in(folder, file)
    similar = difflib.get_close_matches(argument, names, n=1)
    if what == "dataset" and Path(argument).is_file():
        hint = f"prepare it first: charnn prepare {argument}"
    elif similar:
        hint = f"did you mean {similar[0]}?"
    elif names:
        hint = f"available: {', '.join(names[:10])}"
    else:
        hint = "charnn prepare" if what == "dataset" else TRAIN_ONE
    error = StorageError if os.sep in argument else UsageError
    if Path(argument).is_file():
        return error(f"{argument} is a file, not a {what}", hint)
    return error(f"no {what} {argument!r}: not found in {folder} and not a path", hint)
