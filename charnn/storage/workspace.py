"""Find datasets, runs and models by name or path."""

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path

from charnn.errors import StorageError, UsageError
from charnn.escape import REPLACEMENT

META_FILE = "meta.json"
TOKENIZER_FILE = "tokenizer.json"
MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
DATA_DIR = "data"
RUNS_DIR = "runs"
RUNS_VARIABLE = "CHARNN_RUNS_DIR"  # environment variable
NOT_IN_NAMES = r"[\x00-\x1f\ud800-\udfff]"  # control characters, bytes that are not UTF-8


def runs_dir() -> Path:
    """Return the folder of runs for the Python API: CHARNN_RUNS_DIR, by default runs/."""
    return Path(os.environ.get(RUNS_VARIABLE) or RUNS_DIR)


def check_name(name: str) -> str:
    """Return `name`. Raise UsageError if it is not valid as the name of a folder in UTF-8."""
    if re.search(rf"^$|^\.|[/\\]|{NOT_IN_NAMES}", name):
        raise UsageError(f"--name {name!r} is not a valid name", "use letters, digits, - and _")
    return name


def fit_name(name: str) -> str:
    """Return a name that `check_name` accepts, with U+FFFD for characters that it does not."""
    return re.sub(rf"[/\\]|{NOT_IN_NAMES}", REPLACEMENT, name).lstrip(".")


def find_dataset(argument: str | None, folder: Path) -> Path:
    """Return the folder of a dataset, given by name or path; by default the newest dataset.

    Raise StorageError if there is none.
    """
    if argument is None:
        return _newest(folder, META_FILE, "dataset", "charnn prepare").parent
    found = _find(argument, folder, _has(META_FILE))
    if found is None:
        raise _missing("dataset", argument, folder, META_FILE)
    return found


def find_run(argument: str | None, folder: Path) -> Path:
    """Return the folder of a run, given by name or path; by default that of the newest model.

    Raise StorageError if there is none.
    """
    if argument is None:
        return find_model(None, folder).parent
    found = _find(argument, folder, Path.is_dir)
    if found is None:
        raise _missing("run", argument, folder, CONFIG_FILE)
    return found


def find_model(argument: str | None, folder: Path) -> Path:
    """Return a model file, given by the name or path of its run or by its own path.

    The default is the newest model. Raise StorageError if there is none.
    """
    if argument is None:
        return _newest(folder, MODEL_FILE, "model", "charnn train")
    run = _find(argument, folder, _has(MODEL_FILE))
    if run:
        return run / MODEL_FILE
    if Path(argument).is_file():
        return Path(argument)
    if _find(argument, folder, Path.is_dir):
        message = f"{argument} contains no {MODEL_FILE}"
        raise StorageError(message, "name a run that has been validated, or a model file")
    raise _missing("model", argument, folder, MODEL_FILE)


def find_dataset_or_model(argument: str | None, data_dir: Path, runs_dir: Path) -> Path:
    """Return the folder of a dataset or the file of a model; by default the newest model.

    Raise StorageError if there is neither.
    """
    dataset = _find(argument, data_dir, _has(META_FILE)) if argument else None
    if dataset:
        return dataset
    try:
        return find_model(argument, runs_dir)
    except StorageError as error:
        if argument is None:
            raise
        raise StorageError(f"no dataset, run or model {argument!r}", error.hint) from None


def find_tokenizer(argument: str, data_dir: Path, runs_dir: Path) -> Path:
    """Return the file that contains a tokenizer: a tokenizer.json or a model file.

    The argument is the name or path of a dataset or run, or the path of such a file. Raise
    StorageError if there is none.
    """
    folder = _find(argument, data_dir, _has(TOKENIZER_FILE))
    return (
        folder / TOKENIZER_FILE if folder else find_dataset_or_model(argument, data_dir, runs_dir)
    )


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


def _newest(folder: Path, file: str, kind: str, command: str) -> Path:
    found = [path for path in folder.glob(f"*/{file}") if not path.parent.name.startswith(".")]
    if not found:
        raise StorageError(f"no {kind} in {folder}{os.sep}", command)
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.parent.name))


def _missing(kind: str, argument: str, folder: Path, file: str) -> StorageError:
    names = [path.parent.name for path in folder.glob(f"*/{file}")]
    similar = difflib.get_close_matches(argument, names, n=1)
    if similar:
        hint = f"did you mean {similar[0]}?"
    elif names:
        hint = f"available: {', '.join(sorted(names)[:10])}"
    else:
        hint = "charnn prepare" if kind == "dataset" else "charnn train"
    return StorageError(f"no {kind} {argument!r}: not found in {folder} and not a path", hint)
