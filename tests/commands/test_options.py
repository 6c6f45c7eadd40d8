"""Options: generated from the settings, and shared by all commands."""

from typing import get_args

import pytest
import typer.main
from pydantic import Field

from charnn import cli
from charnn.commands import options
from charnn.config import PrepareConfig, SampleConfig, Settings, TrainConfig, flag

COMMANDS = {
    f"{name} {part}".strip(): command
    for name, whole in typer.main.get_command(cli.app).commands.items()
    for part, command in {"": whole, **getattr(whole, "commands", {})}.items()
}
KINDS = {"train": TrainConfig, "sample": SampleConfig, "prepare": PrepareConfig}
FIELDS = [
    (command, name)
    for command, kind in KINDS.items()
    for name in kind.model_fields
    if (command, name) != ("train", "data")  # an argument
]


def option_of(command, name):
    """Return the option of a command for a field."""
    return next(option for option in COMMANDS[command].params if option.name == name)


@pytest.mark.parametrize(("command", "name"), FIELDS, ids=" ".join)
def test_every_setting_is_an_option(command, name) -> None:
    """With the name, help text, choices, panel and default of the field."""
    field, option = KINDS[command].model_fields[name], option_of(command, name)
    extras = options.extras(KINDS[command], name)
    is_choice = isinstance(field.default, str) and bool(get_args(field.annotation))

    assert flag(name) in option.opts
    assert option.help == (
        options.described(field.description, extras["shown_default"])
        if extras["shown_default"]
        else field.description
    )
    assert option.type_descriptor.choices == (get_args(field.annotation) if is_choice else None)
    assert (option.rich_help_panel or "") == extras["panel"]
    assert option.default == (None if extras["by_preset"] else field.default)
    assert (extras["shown_default"] == "by preset") == extras["by_preset"]


def parameters():
    """Yield every option and argument of every command."""
    for name, command in COMMANDS.items():
        for part in {"": command, **getattr(command, "commands", {})}.values():
            for parameter in part.params:
                yield pytest.param(parameter, id=f"{name} {part.name} {parameter.name}")


@pytest.mark.parametrize("parameter", list(parameters()))
def test_help_texts_are_short(parameter) -> None:
    """A sentence under 80 characters; defaults are values, not descriptions."""
    text = parameter.help.partition(" [dim]")[0]

    assert len(text) < 80
    assert text.endswith(".")
    assert not isinstance(parameter.show_default, str)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "lab"])
def test_every_command_has_debug_and_quiet(command) -> None:
    """Also if the command does not declare them."""
    assert option_of(command, "debug").opts == ["--debug"]
    assert option_of(command, "quiet").opts == ["--quiet", "-q"]


def test_plain_field_becomes_an_option() -> None:
    """Also if it was not created by `config.setting`."""

    class Plain(Settings):
        size: int = Field(3, description="A number.")

    @options.command(Plain)
    def show(*, chosen: options.Given) -> int:
        return chosen.get("size", 0)

    app = typer.Typer()
    app.command()(show)
    assert app(["--size", "5"], standalone_mode=False) == 5
    assert app([], standalone_mode=False) == 0


def test_folder_precedence(monkeypatch) -> None:
    """--data-dir, then CHARNN_DATA_DIR, then ./data."""

    def folder(*arguments):
        return str(COMMANDS["info"].make_context("info", [*arguments]).params["data_dir"])

    monkeypatch.delenv("CHARNN_DATA_DIR", raising=False)
    assert folder() == "data"
    monkeypatch.setenv("CHARNN_DATA_DIR", "elsewhere")
    assert folder() == "elsewhere"
    assert folder("--data-dir", "here") == "here"
