"""Resolve the settings of a training: flags over file over preset, or a resumed run."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charnn.commands import options
from charnn.config import NetworkConfig, TrainConfig, validate
from charnn.errors import UsageError
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.data.dataset import Dataset
    from charnn.display.messages import Display
    from charnn.training.presets import Facts

# What a resumed run keeps.
LASTING = (
    *("cell", "hidden_size", "num_layers", "embedding_dim", "tie_weights"),
    *("preset", "seed", "sampler", "random_bptt", "optimizer"),
)
# What decides how fast it is.
MACHINE = ("threads", "device", "precision")


def asked(given: options.Given, config: Path | None) -> dict[str, Any]:
    """Return the settings given on the command line, over those of a file."""
    if config is None:
        return given
    from charnn.storage.settings_file import read_settings

    return options.merged(read_settings(config, TrainConfig), given)


def inherited(model: Path) -> dict[str, Any]:
    """The shape of a network, for a run that begins with its weights.

    Raises DataError where the file is no model.
    """
    from charnn.model.model_file import read_model

    shape = read_model(model).config
    return {name: getattr(shape, name) for name in NetworkConfig.model_fields}


def resolved(
    given: dict[str, Any], data_dir: Path, display: "Display"
) -> tuple["Dataset", TrainConfig]:
    """The dataset and the settings of a new run; what was chosen is said.

    Raises UsageError where the settings make no sense, and what opening a dataset raises.
    """
    from charnn.data.dataset import open_dataset
    from charnn.training import presets

    folder = workspace.find_dataset(given.get("data"), data_dir)
    dataset = open_dataset(folder)
    is_there = (data_dir / dataset.name).resolve() == folder.resolve()
    # --resume looks for it again; what lies elsewhere has no other name than its path.
    data = dataset.name if is_there else given.get("data") or folder.name
    settings, why = presets.resolve({**given, "data": data}, _facts(given, dataset))
    display.note(why)
    return dataset, settings


def _facts(given: dict[str, Any], dataset: "Dataset") -> "Facts":
    """What the presets may look at; how fast training is here only where minutes are given."""
    from charnn.training import presets

    facts = presets.Facts(len(dataset.split("train")), dataset.tokenizer.vocab_size)
    if given.get("minutes") is None:
        return facts
    from charnn.model import device as devices

    machine = validate(TrainConfig, {name: given[name] for name in MACHINE if name in given})
    devices.configure(machine.threads, deterministic=False)  # which minutes never are
    device = devices.choose_device(machine.device)
    trial = presets.REFERENCE["hidden_size"], machine.batch_size
    precision = devices.choose_precision(machine.precision, device, *trial)
    speed = devices.tokens_a_minute(devices.Arithmetic(device, precision), *trial)
    return dataclasses.replace(facts, tokens_a_minute=speed)


def resumed(
    folder: Path, given: dict[str, Any], data_dir: Path, display: "Display"
) -> tuple["Dataset", TrainConfig]:
    """The settings of the run to go on with, changed where that is harmless."""
    from charnn.data.dataset import open_dataset
    from charnn.storage.settings_file import read_settings

    recorded = read_settings(folder / workspace.CONFIG_FILE, TrainConfig)
    settings = validate(TrainConfig, options.merged(recorded, given))
    changes = [
        f"{name} {recorded.get(name)} → {value}"
        for name, value in settings.model_dump(mode="json").items()
        if name in given and value != recorded.get(name)
    ]
    if changes:
        display.note(f"changed on resuming: {', '.join(changes)}")
    return open_dataset(workspace.find_dataset(settings.data, data_dir)), settings


def refuse_with_resume(name: str | None, init_from: str | None, given: dict[str, Any]) -> None:
    """Raises UsageError where more is asked of a resumed run than going on."""
    if name is not None or init_from is not None:
        other = "--name" if name is not None else "--init-from"
        raise UsageError(
            f"--resume goes on with a run as it is; {other} begins a new one", f"leave out {other}"
        )
    changed = [field for field in LASTING if field in given]
    if changed:
        raise UsageError(
            f"a resumed run keeps its {', '.join(changed)}",
            "leave these out, or begin a new run with --init-from",
        )


def print_settings(settings: TrainConfig) -> None:
    """As YAML, on stdout; `charnn train --config` reads it."""
    from charnn.display.stdout import Output
    from charnn.storage.settings_file import dump_settings

    output = Output()
    output.write(dump_settings(settings))
    output.flush()
