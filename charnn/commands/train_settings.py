"""Settings of `charnn train`: flags take precedence over a file or the run to resume."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charnn.commands import options
from charnn.config import TrainConfig, merge

MACHINE = ("threads", "device", "precision")  # settings that depend on the machine


def asked(given: options.Given, config: Path | None) -> dict[str, Any]:
    """Return the settings of the command line merged with those of a file."""
    if config is None:
        return given
    from charnn.storage.settings_file import read_settings

    return merge(read_settings(config, TrainConfig), given)


def print_settings(settings: TrainConfig, given: Mapping[str, Any]) -> None:
    """Print settings as YAML for `charnn train --config`, on any machine."""
    from charnn.display.stdout import Output
    from charnn.storage.settings_file import dump_settings

    fields = TrainConfig.model_fields
    chosen = {name: given.get(name, fields[name].default) for name in MACHINE}
    output = Output()
    output.write(dump_settings(settings.model_copy(update=chosen)))
    output.flush()
