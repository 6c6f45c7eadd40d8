"""The settings asked of `charnn train`: flags over a file; printed as YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charnn.commands import options
from charnn.config import TrainConfig, merge

# Settings that depend on the machine.
MACHINE = ("threads", "device", "precision")


def asked(given: options.Given, config: Path | None) -> dict[str, Any]:
    """Return the settings given on the command line, over those of a file."""
    if config is None:
        return given
    from charnn.storage.settings_file import read_settings

    return merge(read_settings(config, TrainConfig), given)


def print_settings(settings: TrainConfig, given: Mapping[str, Any]) -> None:
    """Print settings as YAML, which `charnn train --config` reads on any machine."""
    from charnn.display.stdout import Output
    from charnn.storage.settings_file import dump_settings

    fields = TrainConfig.model_fields
    chosen = {name: given.get(name, fields[name].default) for name in MACHINE}
    output = Output()
    output.write(dump_settings(settings.model_copy(update=chosen)))
    output.flush()
