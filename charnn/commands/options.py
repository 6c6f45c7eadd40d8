"""Options that several commands share, and options made from configuration fields.

A field's name, help text and range stand in `config.py` alone.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charnn.config import BUDGETS, Settings, flag
from charnn.errors import DataError
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.model.model_file import ModelFile

ALIASES = {  # what users of the older tools type
    "--layers": "--num-layers",
    "--rnn-size": "--hidden-size",
    "--seq-len": "--bptt",
    "--clip": "--grad-clip",
    "--length": "--max-new-tokens",
    "--repeat-penalty": "--repetition-penalty",
}

BARE = {"--color": ("auto", "always", "never")}  # an option whose value may be left out: the first

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No hints and no progress.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="The model; all arguments are files then.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the datasets.", envvar="CHARNN_DATA_DIR", show_default="data"),
]
RunsDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the runs.", envvar="CHARNN_RUNS_DIR", show_default="runs"),
]


def option(
    kind: type[Settings], field: str, *names: str, default: str = "", panel: str | None = None
) -> Any:
    """A flag for a field: its spelling, help text and default come from the configuration.

    The flag itself has no default, so that "not given" stays visible; `default` replaces the
    field's own in the help, where `panel` is the heading it stands under.
    """
    info = kind.model_fields[field]
    is_switch = info.annotation is bool
    on = f"{flag(field)}/--no-{flag(field)[2:]}" if is_switch else flag(field)
    shown = default or ("" if info.default is None or is_switch else str(info.default))
    return typer.Option(
        on,
        *names,
        help=info.description or "",
        show_default=shown or False,
        rich_help_panel=panel,
    )


def given(context: typer.Context, kind: type[Settings]) -> dict[str, Any]:
    """The fields of `kind` that were given on the command line."""
    return {
        name: value
        for name, value in context.params.items()
        if name in kind.model_fields and value is not None
    }


def next_command(context: typer.Context, *words: str) -> str:
    """What to type next in a shell; folders that were given as flags are given again."""
    given: list[str] = []
    for name in ("data_dir", "runs_dir"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":  # the environment stays as it is
            given += [flag(name), str(context.params[name])]
    return shlex.join([*words, *given])


def merged(settings: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """Flags over settings; a budget among the flags takes the place of another in the file."""
    if any(name in flags for name in BUDGETS):
        settings = {name: value for name, value in settings.items() if name not in BUDGETS}
    return {**settings, **flags}


def in_full(arguments: list[str]) -> list[str]:
    """The arguments as they are spelled in full, up to a bare `--`.

    The older tools' names are replaced by ours, and values that were left out are put in.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    renamed = []
    for argument, following in zip(arguments[:end], [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name in BARE and not equals and following not in BARE[name]:
            equals, value = "=", BARE[name][0]
        renamed.append(ALIASES.get(name, name) + equals + value)
    return renamed + arguments[end:]


def model_and_files(
    arguments: list[str] | None, model: str | None, runs_dir: Path | None
) -> "tuple[Path, ModelFile, list[str]]":
    """What `[MODEL] [FILE]...` and --model name: the model's path, the model, and the files.

    Raises StorageError where there is no such model, DataError where it is none.
    """
    from charnn.model.model_file import read_model

    names = list(arguments or [])
    chosen = model if model is not None else (names.pop(0) if names else None)
    path = workspace.find_model(chosen, workspace.runs_dir(runs_dir))
    try:
        return path, read_model(path), names
    except DataError as error:
        raise DataError(error.message, f"{error.hint}; files come after the model") from error
