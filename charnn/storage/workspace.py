"""Find datasets, runs and models by name or path."""

import difflib
import json
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charnn.errors import CharnnError, StorageError, UsageError
from charnn.storage.lock import Lock, is_locked

META_FILE = "meta.json"
TOKENIZER_FILE = "tokenizer.json"
MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
MARKERS = (META_FILE, TOKENIZER_FILE, MODEL_FILE, CONFIG_FILE, METRICS_FILE)
RUN_FILES = (CONFIG_FILE, METRICS_FILE, MODEL_FILE)  # a folder with one of them is a run
CHECKPOINTS = "checkpoints"  # folder of the checkpoints of a run
FINAL = "final"  # key of the last row of METRICS_FILE in a finished run: its closing score
LONGEST_ROW = 4096  # bytes of a row of METRICS_FILE, more than any
DATA_DIR = "data"
RUNS_DIR = "runs"
DATA_VARIABLE, RUNS_VARIABLE = "CHARNN_DATA_DIR", "CHARNN_RUNS_DIR"  # environment variables
NAME_RULE = "use letters, digits, - _ and . only; begin with a letter, a digit or _"
TRAIN_ONE = "train one: charnn prepare FILE && charnn train"  # hint where there is no model


def data_dir() -> Path:
    """Return the folder of datasets for the Python API: CHARNN_DATA_DIR, by default data/."""
    return Path(os.environ.get(DATA_VARIABLE) or DATA_DIR)


def runs_dir() -> Path:
    """Return the folder of runs for the Python API: CHARNN_RUNS_DIR, by default runs/."""
    return Path(os.environ.get(RUNS_VARIABLE) or RUNS_DIR)


def check_name(name: str) -> str:
    """Return the name of a dataset or run. Raise UsageError if it does not follow NAME_RULE."""
    if not name or name[0] in ".-" or not all(map(_is_valid, name)):
        raise UsageError(f"--name {name!r} is not a valid name", NAME_RULE)
    return name


def fit_name(name: str) -> str:
    """Return a name that `check_name` accepts, with - for other characters; may be empty."""
    fitting = "".join(character if _is_valid(character) else "-" for character in name)
    return re.sub(r"--+", "-", fitting).strip(".-")


def _is_valid(character: str) -> bool:
    """Return whether a name may contain a character: letters, marks and digits of any script."""
    return character in "-_." or unicodedata.category(character)[0] in "LMN"


def find_dataset(argument: str | None, folder: Path, runs: Path | None = None) -> Path:
    """Return the folder of a dataset, given by name or path; by default the newest dataset.

    Raise UsageError for a name, StorageError for a path that does not exist, and UsageError for a
    run or its model, also if it is named by its name in `runs`.
    """
    if argument is None:
        return _newest(_all(folder, META_FILE), folder, "dataset", "charnn prepare").parent
    found = _find(argument, folder, _has(META_FILE))
    if found is None:
        _refuse_run(argument, runs)
        raise _missing("dataset", argument, folder, META_FILE)
    return found


def _refuse_run(argument: str, runs: Path | None) -> None:
    """Raise UsageError if an argument for a dataset names a run or a model file."""
    path = Path(argument)
    folder = path.parent if path.name == MODEL_FILE else path
    run = _find(str(folder), runs or Path(), _is_run)
    if run is not None:
        is_named = runs is not None and run.parent.resolve() == runs.resolve()
        name = run.resolve().name if is_named else str(run)
        raise UsageError(
            f"{argument} is a run, not a dataset",
            f"continue it with --resume {name}, or start a new run from its weights with "
            f"--init-from {name}",
        )
    if path.is_file() and path.suffix == Path(MODEL_FILE).suffix:
        raise UsageError(
            f"{argument} is a model, not a dataset",
            f"start a new run from its weights with --init-from {argument}",
        )


def find_run(argument: str | None, folder: Path) -> Path:
    """Return the folder of a run, given by name or path; by default that of the newest model.

    The name of a dataset stands for its newest run. Raise UsageError for a name, StorageError for a
    path that does not exist.
    """
    if argument is None:
        return find_model(None, folder).parent
    found = _find(argument, folder, Path.is_dir)
    if found is None:
        runs_of_dataset = _runs_of(argument, folder, CONFIG_FILE)
        if not runs_of_dataset:
            raise _missing("run", argument, folder, *RUN_FILES)
        found = runs_of_dataset[0].parent
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


def stopped_runs(folder: Path) -> list[Path]:
    """Return the runs with a checkpoint that are neither finished nor running, newest first."""
    runs = [path.parent for path in sorted(_all(folder, CONFIG_FILE), key=_age, reverse=True)]
    return [
        run
        for run in runs
        if checkpoint_folders(run) and not is_finished(run) and not is_locked(run)
    ]


def find_stopped_run(folder: Path) -> Path:
    """Return the newest of the stopped runs. Raise UsageError if there is none."""
    stopped = stopped_runs(folder)
    if not stopped:
        raise UsageError(f"no stopped run in {folder}{os.sep}", "name the run: --resume RUN")
    return stopped[0]


def last_row(run: Path) -> dict[str, Any]:
    """Return the last row of the log of a run; empty if there is no log or it is damaged."""
    try:
        with (run / METRICS_FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_ROW))
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
        row = json.loads(last)
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}


def is_finished(run: Path) -> bool:
    """Return whether a run has reached its end, as the last row of its log says."""
    return last_row(run).get(FINAL) is True


def is_stopped(run: Path) -> bool:
    """Return whether a run was stopped before its end; a model without a log counts as finished."""
    has_log = (run / METRICS_FILE).exists() or not (run / MODEL_FILE).exists()
    return has_log and not is_finished(run)


def checkpoint_folders(run: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted((run / CHECKPOINTS).glob("step-*"), key=lambda path: (len(path.name), path.name))


def trained_steps(run: Path) -> int | None:
    """Return the number of steps of a finished run, or those up to its newest checkpoint."""
    row, folders = last_row(run), checkpoint_folders(run)
    steps = row.get("step")
    if folders and FINAL not in row:
        number = folders[-1].name.rpartition("-")[2]
        steps = int(number) if number.isdecimal() else None
    return steps if isinstance(steps, int) else None


def find_models(argument: str | None, folder: Path) -> list[Path]:
    """Return the model files that an argument stands for, the preferred one first.

    The name or path of a run, or the path of a file, stands for one model. The name of a dataset
    stands for the models of its runs, no argument for all: those of finished runs first, the newest
    of them first. Raise UsageError for a name, StorageError for a path that does not exist.
    """
    if argument is None:
        found = _preferred(_all(folder, MODEL_FILE))
        if not found:
            raise UsageError(f"no model in {folder}{os.sep}", TRAIN_ONE)
        return found
    if run := _find(argument, folder, _has(MODEL_FILE)):
        return [run / MODEL_FILE]
    if found := _runs_of(argument, folder, MODEL_FILE):
        return found
    if Path(argument).is_file():
        return [Path(argument)]
    if dataset := _find(argument, folder, _has(META_FILE)):
        name = dataset.resolve().name
        raise UsageError(
            f"{argument} is a dataset, not a model",
            f"charnn sample {name} takes its newest run"
            if _runs_of(name, folder, MODEL_FILE)
            else f"train a model of it: charnn train {argument}",
        )
    if run := _find(argument, folder, Path.is_dir):
        raise UsageError(
            f"{run} has no saved model ({MODEL_FILE})",
            "name a run that has been validated, or a model file (charnn list shows all)",
        )
    raise _missing("model", argument, folder, MODEL_FILE)


def find_model(argument: str | None, folder: Path) -> Path:
    """Return the preferred model file that an argument stands for, without reading it.

    Raise what `find_models` raises.
    """
    return find_models(argument, folder)[0]


def _preferred(paths: list[Path]) -> list[Path]:
    """Return files of runs: those of finished runs first, newest first."""
    return sorted(paths, key=lambda path: (not is_stopped(path.parent), _age(path)), reverse=True)


def _runs_of(dataset: str, folder: Path, file: str) -> list[Path]:
    """Return this file of the runs of a dataset, the preferred one first."""
    line = re.compile(rf"^data: (['\"]?){re.escape(dataset)}\1$", re.MULTILINE)
    found = [
        path
        for path in _all(folder, file)
        if (path.parent / CONFIG_FILE).is_file()
        and line.search((path.parent / CONFIG_FILE).read_text("utf-8", "replace"))
    ]
    return _preferred(found)


def find_dataset_or_model(argument: str, data_dir: Path, runs_dir: Path) -> Path:
    """Return the folder of a dataset or the file of a model.

    Raise UsageError for a name, StorageError for a path that does not exist.
    """
    for what, folder in (("datasets", data_dir), ("runs", runs_dir)):
        if folder.is_dir() and Path(argument).resolve() == folder.resolve():
            raise UsageError(
                f"{argument} is the folder of all {what}",
                "name one of them; charnn list shows them",
            )
    if dataset := _find(argument, data_dir, _has(META_FILE)):
        return dataset
    try:
        return find_model(argument, runs_dir)
    except (StorageError, UsageError) as error:
        if _find(argument, runs_dir, Path.is_dir):
            raise  # it names what the folder lacks
        names = [*names_in(data_dir, META_FILE), *names_in(runs_dir, MODEL_FILE)]
        hint = _suggestion(argument, names) or error.hint
        raise type(error)(f"no dataset, run or model {argument!r}", hint) from None


def find_tokenizer(argument: str, data_dir: Path, runs_dir: Path) -> Path:
    """Return the file that contains a tokenizer: a tokenizer.json or a model file.

    The argument is the name or path of a dataset or run, or the path of such a file. Raise
    UsageError for a name, StorageError for a path that does not exist.
    """
    folder = _find(argument, data_dir, _has(TOKENIZER_FILE))
    return (
        folder / TOKENIZER_FILE if folder else find_dataset_or_model(argument, data_dir, runs_dir)
    )


def _is_run(folder: Path) -> bool:
    """Return whether a folder has a file of a run, and is not a dataset."""
    return not _has(META_FILE)(folder) and any(_has(file)(folder) for file in RUN_FILES)


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


def names_in(folder: Path, *files: str) -> list[str]:
    """Return the names of the datasets or runs in a folder that have one of these files, sorted."""
    return sorted({path.parent.name for file in files for path in _all(folder, file)})


def _all(folder: Path, file: str) -> list[Path]:
    return [path for path in folder.glob(f"*/{file}") if not path.parent.name.startswith(".")]


def _age(path: Path) -> tuple[int, str]:
    """Return what orders files from the oldest to the newest."""
    return path.stat().st_mtime_ns, path.parent.name


def _newest(found: list[Path], folder: Path, what: str, remedy: str) -> Path:
    if not found:
        raise UsageError(f"no {what} in {folder}{os.sep}", remedy)
    return max(found, key=_age)


def _missing(what: str, argument: str, folder: Path, *files: str) -> CharnnError:
    """Return the error for an argument that names nothing, with the nearest name there is."""
    if what == "dataset" and Path(argument).is_file():
        hint = f"prepare it first: charnn prepare {argument}"
    else:
        nothing = "charnn prepare" if what == "dataset" else TRAIN_ONE
        hint = _suggestion(argument, names_in(folder, *files)) or nothing
    error = StorageError if os.sep in argument else UsageError
    if Path(argument).is_file():
        return error(f"{argument} is a file, not a {what}", hint)
    return error(f"no {what} {argument!r}: not found in {folder} and not a path", hint)


def _suggestion(argument: str, names: list[str]) -> str:
    """Return a hint with the nearest of the names, else with the first ones; empty if none."""
    if similar := difflib.get_close_matches(argument, names, n=1):
        return f"did you mean {similar[0]}?"
    return f"available: {', '.join(names[:10])}" if names else ""
