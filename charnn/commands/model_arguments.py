"""Tell models from texts among the arguments of a command; print which model is used."""

import glob
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from charnn.config import STDIN
from charnn.errors import CharnnError, StorageError, UsageError
from charnn.storage import workspace
from charnn.storage.lock import is_locked

if TYPE_CHECKING:
    from charnn.display.messages import Display
    from charnn.model.model_file import ModelFile


def models_and_files(
    argument: str | None,
    files: list[str] | None,
    model: str | None,
    runs_dir: Path,
    display: "Display",
) -> tuple[list[Path], list[str]]:
    """Return the model files and the texts named by `[MODEL]... [FILE]...` and --model.

    With --model, all arguments are texts. Otherwise the models come first. A single argument that
    is not a model is a text for the newest model, with a note.
    Raise UsageError or StorageError if the first argument is not a model, or if a later one is
    neither a model nor a text.
    """
    given = [name for name in (argument, *(files or ())) if name is not None]
    if model is not None:
        return [workspace.find_model(model, runs_dir)], given
    if not given:
        return [workspace.find_model(None, runs_dir)], []
    found = [_find(name, runs_dir) for name in given]
    models = [path for path in itertools.takewhile(_is_model, found) if isinstance(path, Path)]
    if models:
        for name, other in list(zip(given, found, strict=True))[len(models) :]:
            _check_text(name, other)
        return models, given[len(models) :]
    if len(given) == 1 and (given[0] == STDIN or Path(given[0]).exists()):
        newest = workspace.find_model(None, runs_dir)
        display.note(f"{given[0]} is not a model; reading it as a text for the newest model")
        return [newest], given
    first = found[0]
    assert isinstance(first, CharnnError)
    order = " (the first argument must be a model, the others files)" if given[1:] else ""
    raise type(first)(first.message, first.hint + order)


def _is_model(found: Path | CharnnError) -> bool:
    return isinstance(found, Path)


def _check_text(name: str, found: Path | CharnnError) -> None:
    """Raise UsageError if an argument after the models is a model, or like the name of one."""
    from charnn.data.corpora import Catalogue

    if name == STDIN or os.path.lexists(name) or name in Catalogue().cards:
        return
    if isinstance(found, Path):
        raise UsageError(f"{name} is a model, but comes after a text", "name the models first")
    if found.hint.startswith("did you mean") and not glob.has_magic(name):
        raise UsageError(f"{name!r} is neither a model nor a text", found.hint)


def _find(name: str, runs_dir: Path) -> Path | CharnnError:
    """Return the model file that a name stands for, or the error if it is no model."""
    from charnn.storage.safetensors_file import is_safetensors

    try:
        path = workspace.find_model(name, runs_dir)
    except (StorageError, UsageError) as error:
        return error

    if is_safetensors(path):
        return path
    return UsageError(f"{name} is not a charnn model", "name a run or a model file")


def announce(path: Path, model: "ModelFile", display: "Display", seed: int | None = None) -> None:
    """Print which model is used, its step and validation loss, and the seed if it was chosen."""
    found = []
    if "step" in model.metrics:
        found.append(f"step {model.metrics['step']:,}")
    loss = (model.metrics.get("val") or {}).get("loss")
    if loss is not None:
        found.append(f"val loss {loss:.4f}")
    if path.name == workspace.MODEL_FILE and workspace.is_stopped(path.parent):
        found.append("still in training" if is_locked(path.parent) else "stopped run")
    text = f"model {workspace.model_name(path)}" + (f" ({', '.join(found)})" if found else "")
    display.note(text if seed is None else f"seed {seed}, {text}")
