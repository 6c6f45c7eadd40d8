"""Tell models from texts among the arguments of a command; print which model is used."""

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
    """Return the models and the texts named by `[MODEL] [FILE]...` and --model.

    With --model, all arguments are texts. Otherwise the first one is the model, and the rest are
    texts, or all are models. A single argument that is not a model is a text for the newest model,
    with a note.
    Raise UsageError or StorageError if no argument is a model, DataError if a model is damaged.
    """
    from charnn.model.runs import open_model

    given = [name for name in (argument, *(files or ())) if name is not None]
    if model is not None or not given:
        return [open_model(model, runs_dir)], given
    errors = [_refused(name, runs_dir) for name in given]
    if not any(errors):
        return [open_model(name, runs_dir) for name in given], []
    first = errors[0]
    if first is None:
        return [open_model(given[0], runs_dir)], given[1:]
    if len(given) == 1 and (given[0] == STDIN or Path(given[0]).exists()):
        newest = open_model(None, runs_dir)
        display.note(f"{given[0]} is not a model; reading it as a text for the newest model")
        return [newest], given
    raise type(first)(
        first.message, f"{first.hint}; the first argument must be a model, the others files"
    )


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
