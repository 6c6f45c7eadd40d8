"""The command-line application: dispatch to a command, map errors to exit codes.

The commands are in `commands/`; each imports what it needs when it runs, so that `--help` and a
mistyped flag answer at once.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.main

from charnn.commands import (
    corpora,
    evaluate,
    info,
    lab,
    plot,
    prepare,
    sample,
    score,
    train,
)
from charnn.commands.options import in_full
from charnn.commands.signals import Terminated, unwinding
from charnn.errors import CharnnError, StorageError, UsageError

INTERRUPTED = 130
READER_GONE = 141
DEBUG = "--debug"

app = typer.Typer(
    name="charnn",
    help="Train recurrent language models on your own text and sample from them.",
    epilog="Begin with three bare commands: charnn prepare, charnn train, charnn sample.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("prepare")(prepare.prepare)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("sample")(sample.sample)
app.command("score")(score.score)
app.command("info")(info.info)
app.command("plot")(plot.plot)
app.add_typer(lab.lab, name="lab")
app.command("corpora")(corpora.corpora)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"charnn {version('charnn')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show a traceback when something fails.")
    ] = False,
) -> None:
    """Train recurrent language models on your own text and sample from them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code back (docs: errors.py holds those of failures)."""
    given = in_full(_command_line() if arguments is None else list(arguments))
    given, debug = _without_debug(given)
    try:
        with unwinding():
            code = app(given, prog_name="charnn", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated as terminated:
        return terminated.exit_code
    except SystemExit as ended:  # typer's own: shell completion, or help that nobody reads
        if isinstance(ended.__context__, BrokenPipeError):
            return READER_GONE
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as error:
        return _fail(_for_the_user(error), debug)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without --debug, and whether it was there: before `--`, and as an option.

    It may stand behind the command too, so it is not left to the parser; what follows an option
    that takes a value is that value.
    """
    if DEBUG not in arguments:
        return arguments, False
    before = zip(arguments, ["", *arguments], strict=False)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    taking = _options_with_values(typer.main.get_command(app))
    is_asked = [argument == DEBUG and previous not in taking for argument, previous in before]
    kept = [a for i, a in enumerate(arguments) if i >= end or not is_asked[i]]
    return kept, any(is_asked[:end])


def _options_with_values(command: Any) -> set[str]:
    """The spellings of every option that takes a value, of a command and those below it."""
    names = {
        name
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.is_flag
        for name in parameter.opts
    }
    return names.union(*map(_options_with_values, getattr(command, "commands", {}).values()))


def _command_line() -> list[str]:
    """The arguments as UTF-8, whatever the locale took them for."""
    return [os.fsencode(argument).decode("utf-8", "surrogateescape") for argument in sys.argv[1:]]


def _for_the_user(error: Exception) -> CharnnError:
    """Any failure as one that says what happened and what to do."""
    if isinstance(error, CharnnError):
        return error
    if isinstance(error, typer.TyperException):  # a mistake on the command line
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "charnn"
        told: CharnnError = UsageError(error.format_message(), f"{command} --help")
    elif isinstance(error, MemoryError):
        told = CharnnError("out of memory", "use a smaller model or a shorter text")
    elif isinstance(error, OSError):
        told = StorageError(str(error))
    else:
        told = CharnnError(
            f"{type(error).__name__}: {error}",
            "this is a mistake in charnn; please report what --debug shows",
        )
    told.__cause__ = error
    return told


def _fail(error: CharnnError, debug: bool) -> int:
    from charnn.display.messages import Display

    if error.message:
        Display().error(error, debug=debug)
    return error.exit_code


def run() -> None:
    """The console script."""
    _insist_on_utf8()
    sys.exit(main())


def _insist_on_utf8() -> None:
    """Start again, once, where paths would be looked for in another encoding than UTF-8.

    Python settles that before it runs anything; the variable that asks for it says whether this
    was tried.
    """
    name = "PYTHONUTF8"
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get(name) == "1":
        return
    with contextlib.suppress(OSError):
        os.execve(  # noqa: S606 - the same program and arguments
            sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, name: "1"}
        )
