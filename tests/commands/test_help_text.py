"""Help: the usage line first; `help` and `version` as commands."""

import pytest

import charnn
from charnn.cli import main


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["--help"], "charnn [OPTIONS] COMMAND"),
        (["help"], "charnn [OPTIONS] COMMAND"),
        (["help", "train"], "charnn train [OPTIONS]"),
        (["lab", "--help"], "charnn lab [OPTIONS]"),
        (["help", "lab", "memory"], "charnn lab memory [OPTIONS]"),
    ],
)
def test_help_begins_with_the_usage(arguments, usage, capfd) -> None:
    """So that `| head -1` shows it."""
    assert main(arguments) == 0

    assert capfd.readouterr().out.splitlines()[0].strip().startswith(f"Usage: {usage}")


@pytest.mark.parametrize("argument", ["version", "--version", "-V"])
def test_version(argument, capfd) -> None:
    """As a command and as an option."""
    assert main([argument]) == 0

    assert capfd.readouterr().out == f"charnn {charnn.__version__}\n"
