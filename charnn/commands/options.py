"""Command-line options: those that commands share, and those generated from configurations.

A setting is declared once, in `config.py`: name, type, default, help text and panel.
"""

import dataclasses
import functools
import inspect
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charnn.config import (
    PrepareConfig,
    SampleConfig,
    Settings,
    TrainConfig,
    flag,
    validate,
)
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.display.messages import Display

Given = dict[str, Any]  # settings that were given on the command line, by field


@dataclasses.dataclass
class Invocation:
    """State of one call of `main` that options change."""

    debug: bool = False


def _set_debug(context: typer.Context, is_wanted: bool) -> None:
    if is_wanted and isinstance(context.obj, Invocation):
        context.obj.debug = True


Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        callback=_set_debug,
        is_eager=True,
        help="Show a traceback on failure.",
    ),
]


def _check_setting(parameter: typer.CallbackParam, value: Any) -> Any:
    validate(TrainConfig, {str(parameter.name): value})
    return value


def described(text: str, default: str) -> str:
    """Return a help text that ends with a described default, such as `[default: newest]`.

    Typer shows descriptions in parentheses, as in `[default: (newest)]`.
    """
    return f"{text} [dim]\\[default: {default}][/dim]"


def train_option(name: str, text: str = "", default: str = "") -> Any:
    """Return an option with the name, the limits and, by default, the help of a train setting."""
    text = text or str(TrainConfig.model_fields[name].description)
    help_text = described(text, default) if default else text
    return typer.Option(flag(name), callback=_check_setting, help=help_text)


def _folder(context: typer.Context, parameter: str, default: Path) -> Path:
    """Return a folder while a shell completes a line: from the line, the environment, or default.

    The shell does not expand `~` in the words of an unfinished line.
    """
    return Path(context.params.get(parameter) or default).expanduser()


def complete_dataset(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a dataset in a shell."""
    folder = _folder(ctx, "data_dir", workspace.data_dir())
    return _beginning(incomplete, workspace.names_in(folder, workspace.META_FILE))


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a run that has a model."""
    folder = _folder(ctx, "runs_dir", workspace.runs_dir())
    return _beginning(incomplete, workspace.names_in(folder, workspace.MODEL_FILE))


def complete_stopped_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a run to resume: one that is neither finished nor running."""
    stopped = workspace.stopped_runs(_folder(ctx, "runs_dir", workspace.runs_dir()))
    return _beginning(incomplete, sorted(run.name for run in stopped))


def complete_any(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a dataset or run."""
    return [*complete_dataset(ctx, incomplete), *complete_run(ctx, incomplete)]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


Device = Annotated[str, train_option("device")]
Threads = Annotated[int | None, train_option("threads", default="all cores")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Suppress hints and progress.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Raw = Annotated[
    bool | None,
    typer.Option(
        "--raw/--safe",
        help=described("Write exact bytes, or escape control characters.", "safe on a terminal"),
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help=described("Run or model file.", "newest"),
        autocompletion=complete_any,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Run or model file; all arguments are then text files.",
        autocompletion=complete_run,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Argument(
        metavar="DATASET",
        help=described("Dataset: name or folder.", "most recently prepared"),
        autocompletion=complete_dataset,
    ),
]
DataDir = Annotated[Path, typer.Option(help="Folder of datasets.", envvar=workspace.DATA_VARIABLE)]
RunsDir = Annotated[Path, typer.Option(help="Folder of runs.", envvar=workspace.RUNS_VARIABLE)]
COMMON = {"quiet": Quiet, "debug": Debug}  # options of every command
DATA_DIR, RUNS_DIR = Path(workspace.DATA_DIR), Path(workspace.RUNS_DIR)  # defaults


def command(
    kind: type[Settings] | None = None, fields: Sequence[str] | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return a decorator that gives a command the options it does not declare itself.

    Every command gets --debug and --quiet. The parameter of type `Given` is replaced by an option
    for each field of `kind` (or for `fields`), unless the command declares a parameter of that
    name; it receives the fields that were given on the command line. A parameter whose type is a
    dataclass is replaced by the fields of the dataclass.
    """

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        own = inspect.signature(function, eval_str=True).parameters
        settings = [n for n in fields or (kind.model_fields if kind else ()) if n not in own]
        groups: dict[str, Any] = {
            n: p.annotation for n, p in own.items() if dataclasses.is_dataclass(p.annotation)
        }
        parameters, slot = [_keyword("context", typer.Context)], ""
        for name, parameter in own.items():
            if parameter.annotation == Given and kind is not None:
                slot = name
                parameters += [_option(kind, field) for field in settings]
            elif name in groups:
                parameters += inspect.signature(groups[name]).parameters.values()
            elif name != "context":
                parameters.append(parameter)
        parameters += _undeclared(parameters)

        @functools.wraps(function)
        def run(*, context: typer.Context, **values: Any) -> int:
            values["context"] = context
            if slot:
                values[slot] = {n: values[n] for n in settings if is_given(context, n)}
            for name, group in groups.items():
                members = [field.name for field in dataclasses.fields(group)]
                values[name] = group(**{member: values[member] for member in members})
            return function(**{name: values[name] for name in own})

        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # Typer reads it
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        )
        return run

    return decorate


def _undeclared(parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """Return the options of every command that are not among these parameters."""
    declared = {parameter.name for parameter in parameters}
    return [_keyword(n, a, default=False) for n, a in COMMON.items() if n not in declared]


def _keyword(name: str, annotation: Any, **default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, **default)


def _option(kind: type[Settings], name: str) -> inspect.Parameter:
    """Return the parameter of a command whose option sets a field."""
    field, extra = kind.model_fields[name], extras(kind, name)
    is_switch = field.annotation is bool
    spelling = f"{flag(name)}/--no-{flag(name)[2:]}" if is_switch else flag(name)
    text = str(field.description)
    option = typer.Option(
        spelling,
        *extra["names"],
        help=described(text, extra["shown_default"]) if extra["shown_default"] else text,
        show_default=not is_switch,
        rich_help_panel=extra["panel"] or None,
    )
    default = None if extra["by_preset"] else field.default
    return _keyword(name, Annotated[field.annotation, option], default=default)


def extras(kind: type[Settings], name: str) -> dict[str, Any]:
    """Return what `config.setting` recorded for the option of a field, or its defaults."""
    defaults = {"panel": "", "names": [], "aliases": [], "by_preset": False, "shown_default": ""}
    extra = kind.model_fields[name].json_schema_extra
    return {**defaults, **extra} if isinstance(extra, dict) else defaults


def full_name(option: str) -> str:
    """Return the name of an option, without dashes, for a hidden alias of it."""
    return _aliases().get(option, option)


@functools.cache
def _aliases() -> dict[str, str]:
    """Return alias → name of every option that has aliases, without dashes."""
    return {
        alias.removeprefix("--"): flag(name).removeprefix("--")
        for kind in (TrainConfig, SampleConfig, PrepareConfig)
        for name in kind.model_fields
        for alias in extras(kind, name)["aliases"]
    }


def is_given(context: typer.Context, name: str) -> bool:
    """Return whether a parameter was given on the command line, not by default or environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def next_command(context: typer.Context, *words: str) -> str:
    """Return what to type next in a shell; folders that were given as flags are given again."""
    given: list[str] = []
    for name in ("data_dir", "runs_dir"):
        if is_given(context, name):
            given += [flag(name), str(context.params[name])]
    return shlex.join([*words, *given])


def hint_at_terminal(names: Sequence[str], display: "Display") -> None:
    """Print how to end the input if one of the files is stdin and the user types it."""
    from charnn.data.sources import reads_terminal

    if reads_terminal(names):
        display.hint("reading from the terminal; end with Ctrl-D")
