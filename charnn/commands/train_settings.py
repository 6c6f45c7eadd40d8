"""Settings of `charnn train`: flags take precedence over a file or the run to resume."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charnn.commands import options
from charnn.config import FIXED_SETTINGS, NetworkConfig, TrainConfig, validate
from charnn.errors import UsageError
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.data.dataset import Dataset
    from charnn.model.model_file import ModelFile

MACHINE = ("threads", "device", "precision")  # settings that depend on the machine


def asked(given: options.Given, config: Path | None) -> dict[str, Any]:
    """Return the settings of the command line merged with those of a file."""
    if config is None:
        return given
    from charnn.storage.settings_file import read_settings

    return options.merged(read_settings(config, TrainConfig), given)


def of_new_run(
    given: Mapping[str, Any], data_dir: Path, model: "ModelFile | None"
) -> "tuple[Dataset, TrainConfig]":
    """Return the dataset and the given settings, with the network of `model` if any.

    Raise UsageError for invalid settings, DataError or StorageError if the dataset cannot be read.
    """
    from charnn.data.dataset import open_dataset

    network = {}
    if model is not None:
        network = {name: getattr(model.config, name) for name in NetworkConfig.model_fields}
    settings = validate(TrainConfig, {**network, **given})
    folder = workspace.find_dataset(settings.data, data_dir)
    dataset = open_dataset(folder)
    has_name = (data_dir / dataset.name).resolve() == folder.resolve()
    # --resume opens the dataset again, by name or, if it is not in data_dir, by path.
    data = dataset.name if has_name else settings.data or folder.name
    return dataset, settings.model_copy(update={"data": data})


def of_resumed_run(
    folder: Path, given: dict[str, Any], data_dir: Path
) -> "tuple[Dataset, TrainConfig, str]":
    """Return the dataset and the settings of a run to resume, and a note with the changes.

    Raise UsageError if a setting changes that must not change when a run is resumed.
    """
    from charnn.data.dataset import open_dataset
    from charnn.storage.settings_file import read_settings

    recorded = read_settings(folder / workspace.CONFIG_FILE, TrainConfig)
    settings = validate(TrainConfig, options.merged(recorded, given))
    changes = {
        name: f"{name} {'unset' if before is None else before} → {value}"
        for name, value in settings.model_dump(mode="json").items()
        if name in given and value != (before := recorded.get(name))
    }
    kept = {*NetworkConfig.model_fields, "preset", *FIXED_SETTINGS}
    if refused := [change for name, change in changes.items() if name in kept]:
        raise UsageError(
            f"these settings cannot change when a run is resumed: {', '.join(refused)}",
            "leave them out, or start a new run with --init-from",
        )
    note = f"changed settings: {', '.join(changes.values())}" if changes else ""
    return open_dataset(workspace.find_dataset(settings.data, data_dir)), settings, note


def refuse_with_resume(name: str | None, init_from: str | None) -> None:
    """Raise UsageError if an option is given that starts a new run."""
    if name is not None or init_from is not None:
        other = "--name" if name is not None else "--init-from"
        raise UsageError(
            f"--resume continues a run; {other} starts a new one", f"leave out {other}"
        )


def print_settings(settings: TrainConfig, given: Mapping[str, Any]) -> None:
    """Print settings as YAML for `charnn train --config`, on any machine."""
    from charnn.display.stdout import Output
    from charnn.storage.settings_file import dump_settings

    fields = TrainConfig.model_fields
    chosen = {name: given.get(name, fields[name].default) for name in MACHINE}
    output = Output()
    output.write(dump_settings(settings.model_copy(update=chosen)))
    output.flush()
