"""The model that a command uses, and what is damaged in a run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charnn.config import TrainConfig
from charnn.errors import CharnnError, DataError
from charnn.model.model_file import ModelFile, read_model
from charnn.storage import workspace
from charnn.storage.settings_file import read_settings


@dataclasses.dataclass(frozen=True)
class OpenModel:
    """A model and the path of its file; `skipped` are the files of damaged runs before it."""

    path: Path
    file: ModelFile
    skipped: Mapping[Path, CharnnError] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the run, or of the file."""
        return workspace.model_name(self.path)

    @property
    def note(self) -> str:
        """Which runs were skipped; empty if none were."""
        names = ", ".join(map(workspace.model_name, self.skipped))
        return f"skipped damaged runs: {names} (charnn list shows the damage)" if names else ""


def open_model(argument: str | None, runs: Path) -> OpenModel:
    """Read the model that an argument stands for; by default that of the newest finished run.

    Of the runs that the default or the name of a dataset stands for, damaged ones are skipped.
    Raise the error of the first if all are, and what `find_models` raises.
    """
    candidates = workspace.find_models(argument, runs)
    skipped: dict[Path, CharnnError] = {}
    for path in candidates:
        try:
            if len(candidates) > 1:
                _check_settings(path.parent)
            model = read_model(path)
        except CharnnError as error:
            skipped[path] = error
        else:
            return OpenModel(path, model, skipped)
    raise skipped[candidates[0]]


def run_damage(run: Path) -> CharnnError | None:
    """Return what is damaged in a run, with a remedy; None if nothing is."""
    path, config = run / workspace.MODEL_FILE, run / workspace.CONFIG_FILE
    again = f"remove it, or train it again with --config {config} --name {run.name} --force"
    try:
        if path.is_file():
            read_model(path)
        elif workspace.is_finished(run):
            raise DataError(f"{path} is missing")
    except CharnnError as error:
        return DataError(error.message, again)
    try:
        _check_settings(run)
    except CharnnError as error:
        return error
    return None


def _check_settings(run: Path) -> None:
    """Raise what `recorded_settings` raises. A model alone in a folder needs no settings."""
    if any((run / name).exists() for name in (workspace.CONFIG_FILE, workspace.METRICS_FILE)):
        recorded_settings(run)


def recorded_settings(run: Path) -> dict[str, Any]:
    """Return the settings in config.yaml of a run.

    Raise StorageError if it cannot be read, UsageError if it is invalid.
    """
    try:
        return read_settings(run / workspace.CONFIG_FILE, TrainConfig)
    except CharnnError as error:
        raise type(error)(
            error.message,
            "without it the run cannot be resumed; start a new run from its weights with "
            f"--init-from {run.name}",
        ) from None
