"""Help: the usage line first, no type of switches; `help` and `version` as commands."""

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
    shown = capfd.readouterr().out

    assert shown.splitlines()[0].strip().startswith(f"Usage: {usage}")
    assert "bool" not in shown  # options without a value have no type


@pytest.mark.parametrize("argument", ["version", "--version", "-V"])
def test_version(argument, capfd) -> None:
    """As a command and as an option."""
    assert main([argument]) == 0

    assert capfd.readouterr().out == f"charnn {charnn.__version__}\n"


@pytest.mark.parametrize(
    ("command", "names"),
    [("sample", "│ --temp "), ("sample", "│ --temperature,"), ("train", "│ --deterministic ")],
)
def test_no_name_is_cut(command, names, capfd, monkeypatch) -> None:
    """Of two names that are wider than their column, each has a line."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == 0
    shown = capfd.readouterr().out

    assert "…" not in shown
    assert names in shown
