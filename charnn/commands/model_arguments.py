"""Tell models from texts among the arguments of a command; print which model is used."""

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from charnn.config import STDIN
from charnn.errors import CharnnError, StorageError, UsageError
from charnn.storage import workspace
from charnn.storage.lock import is_locked

if TYPE_CHECKING:
    from charnn.display.messages import Display
    from charnn.model.runs import OpenModel


def models_and_files(
    argument: str | None,
    files: list[str] | None,
    model: str | None,
    runs_dir: Path,
    display: "Display",
) -> tuple[list["OpenModel"], list[str]]:
    """Return the models and the texts named by `[MODEL]... [FILE]...` and --model.

    With --model, all arguments are texts. Otherwise the models come first. A single argument that
    is not a model is a text for the newest model, with a note.
    Raise UsageError or StorageError if the first argument is not a model, or if a later one is
    neither a model nor a text; DataError if a model is damaged.
    """
    from charnn.model.runs import open_model

    given = [name for name in (argument, *(files or ())) if name is not None]
    if model is not None or not given:
        return [open_model(model, runs_dir)], given
    errors = [_refused(name, runs_dir) for name in given]
    count = next((index for index, error in enumerate(errors) if error), len(given))  # of models
    if count:
        for name, error in zip(given[count:], errors[count:], strict=True):
            _check_text(name, error)
        return [open_model(name, runs_dir) for name in given[:count]], given[count:]
    if len(given) == 1 and (given[0] == STDIN or Path(given[0]).exists()):
        newest = open_model(None, runs_dir)
        display.note(f"{given[0]} is not a model; reading it as a text for the newest model")
        return [newest], given
    first = errors[0]
    assert first is not None
    order = (
        " (the first argument must be a model; with -m MODEL all are texts)" if given[1:] else ""
    )
    raise type(first)(first.message, first.hint + order)


def _check_text(name: str, error: CharnnError | None) -> None:
    """Raise UsageError if an argument after the models is a model, or like the name of one."""
    from charnn.data.corpora import Catalogue

    if name == STDIN or os.path.lexists(name) or name in Catalogue().cards:
        return
    if error is None:
        raise UsageError(f"{name} is a model, but comes after a text", "name the models first")
    if error.hint.startswith("did you mean") and not glob.has_magic(name):
        raise UsageError(f"{name!r} is neither a model nor a text", error.hint)


def _refused(name: str, runs_dir: Path) -> CharnnError | None:
    """Return the error for a name that stands for no model, None for one that does."""
    from charnn.storage.safetensors_file import is_safetensors

    try:
        path = workspace.find_model(name, runs_dir)
    except (StorageError, UsageError) as error:
        return error
    if is_safetensors(path):
        return None
    return UsageError(f"{name} is not a charnn model", "name a run or a model file")


def announce(model: "OpenModel", display: "Display", seed: int | None = None) -> None:
    """Print which model is used, its step and validation loss, and the seed if it was chosen.

    Before that, print which damaged runs were skipped.
    """
    if model.note:
        display.note(model.note)
    path, metrics, found = model.path, model.file.metrics, []
    if "step" in metrics:
        found.append(f"step {metrics['step']:,}")
    loss = (metrics.get("val") or {}).get("loss")
    if loss is not None:
        found.append(f"val loss {loss:.4f}")
    if path.name == workspace.MODEL_FILE and workspace.is_stopped(path.parent):
        found.append("still in training" if is_locked(path.parent) else "stopped run")
    text = f"model {model.name}" + (f" ({', '.join(found)})" if found else "")
    display.note(text if seed is None else f"seed {seed}, {text}")
