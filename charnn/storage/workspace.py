"""Find datasets, runs and models by name or path in the working folder."""

import difflib
import os
import re
from pathlib import Path

from charnn.errors import StorageError, UsageError
from charnn.escape import REPLACEMENT

META_FILE = "meta.json"
MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
DATA_DIR = "data"
RUNS_DIR = "runs"
UNFIT = r"[\x00-\x1f\ud800-\udfff]"  # for a name: controls, and bytes that were not UTF-8


def data_dir(given: Path | None) -> Path:
    """The folder of datasets: as given, else CHARNN_DATA_DIR, else data/."""
    return given or Path(os.environ.get("CHARNN_DATA_DIR") or DATA_DIR)


def runs_dir(given: Path | None) -> Path:
    """The folder of runs: as given, else CHARNN_RUNS_DIR, else runs/."""
    return given or Path(os.environ.get("CHARNN_RUNS_DIR") or RUNS_DIR)


def check_name(name: str) -> str:
    """`name` if it can be the name of one folder, written in UTF-8. Raises UsageError."""
    if re.search(rf"^$|^\.|[/\\]|{UNFIT}", name):
        raise UsageError(f"--name {name!r} cannot be the name of a folder", "use letters and -")
    return name


def fit_name(name: str) -> str:
    """A name made of another, as of a file: U+FFFD for what `check_name` would refuse."""
    return re.sub(rf"[/\\]|{UNFIT}", REPLACEMENT, name).lstrip(".")


def find_dataset(argument: str | None, folder: Path) -> Path:
    """The folder of a dataset given by name or path; without one, that prepared last.

    Raises StorageError where there is none.
    """
    if argument is None:
        return _newest(folder, META_FILE, "dataset", "charnn prepare").parent
    for candidate in (folder / argument, Path(argument)):
        if (candidate / META_FILE).is_file():
            return candidate
    raise _missing("dataset", argument, folder, META_FILE)


def find_run(argument: str | None, folder: Path) -> Path:
    """The folder of a run given by name or path; without one, that whose model is newest.

    Raises StorageError where there is none.
    """
    if argument is None:
        return find_model(None, folder).parent
    for candidate in (folder / argument, Path(argument)):
        if candidate.is_dir():
            return candidate
    raise _missing("run", argument, folder, "config.yaml")


def find_model(argument: str | None, folder: Path) -> Path:
    """The model file of a run given by name or folder, or itself; without one, the newest.

    Raises StorageError where there is none.
    """
    if argument is None:
        return _newest(folder, MODEL_FILE, "model", "charnn train")
    for candidate in (folder / argument / MODEL_FILE, Path(argument) / MODEL_FILE, Path(argument)):
        if candidate.is_file():
            return candidate
    if (folder / argument).is_dir() or Path(argument).is_dir():
        raise StorageError(f"{argument} holds no {MODEL_FILE} yet", "let it train a little longer")
    raise _missing("model", argument, folder, MODEL_FILE)


def model_name(path: Path) -> str:
    """What a model is called: by the folder of its run, or as a file that was mailed by its own."""
    return path.parent.resolve().name if path.name == MODEL_FILE else path.stem


def model_argument(path: Path, folder: Path) -> str:
    """What names this model on a command line: its run in the folder of runs, or its file."""
    name = model_name(path)
    is_run = (folder / name / MODEL_FILE).resolve() == path.resolve()
    return name if is_run else str(path)


def next_run_name(folder: Path, dataset: str, cell: str) -> str:
    """DATA-CELL-NNN with the first number above those taken."""
    dataset = fit_name(dataset)
    pattern = re.compile(re.escape(f"{dataset}-{cell}-") + r"(\d+)")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    taken = [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
    return f"{dataset}-{cell}-{max(taken, default=0) + 1:03d}"


def _newest(folder: Path, file: str, what: str, remedy: str) -> Path:
    found = [path for path in folder.glob(f"*/{file}") if not path.parent.name.startswith(".")]
    if not found:
        raise StorageError(f"no {what} in {folder}{os.sep}", remedy)
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.parent.name))


def _missing(what: str, argument: str, folder: Path, file: str) -> StorageError:
    names = [path.parent.name for path in folder.glob(f"*/{file}")]
    near = difflib.get_close_matches(argument, names, n=1)
    if near:
        hint = f"did you mean {near[0]}?"
    elif names:
        hint = f"there are: {', '.join(sorted(names)[:10])}"
    else:
        hint = "charnn prepare" if what == "dataset" else "charnn train"
    return StorageError(f"no {what} {argument!r}, neither in {folder} nor as a path", hint)
