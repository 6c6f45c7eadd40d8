"""Settings of `charnn train`: flags take precedence over a file or the run to resume."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charnn.commands import options
from charnn.config import MACHINE, TrainConfig, merge


def asked(given: options.Given, config: Path | None) -> dict[str, Any]:
    """Return the settings of the command line merged with those of a file.

    Values of the file that leave the choice to charnn are omitted: a resumed run keeps its own.
    """
    if config is None:
        return given
    from charnn.storage.settings_file import read_settings

    automatic = {"preset": "auto", **MACHINE}.items()
    settings = read_settings(config, TrainConfig)
    return merge({n: v for n, v in settings.items() if (n, v) not in automatic}, given)


def print_settings(settings: TrainConfig, given: Mapping[str, Any]) -> None:
    """Print settings as YAML for `charnn train --config`, on any machine."""
    from charnn.display.stdout import Output
    from charnn.storage.settings_file import dump_settings

    chosen = {name: given.get(name, automatic) for name, automatic in MACHINE.items()}
    output = Output()
    output.write(dump_settings(settings.model_copy(update=chosen)))
    output.flush()
