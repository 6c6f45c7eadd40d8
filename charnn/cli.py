"""The command-line application: run a command, exit with the code of its error.

The commands are in `commands/`. Each imports heavy libraries when it runs, so that `--help` and a
mistyped option answer at once.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from charnn.commands import (
    corpora,
    evaluate,
    info,
    lab,
    listing,
    options,
    plot,
    prepare,
    sample,
    score,
    train,
)
from charnn.commands.help_text import Command, Group
from charnn.commands.signals import Terminated, unwinding
from charnn.commands.usage_errors import worded
from charnn.errors import CharnnError, StorageError

INTERRUPTED = 130
READER_GONE = 141

app = typer.Typer(
    name="charnn",
    cls=Group,
    help="Train recurrent language models on text and sample from them.",
    epilog="Start with: charnn prepare, charnn train, charnn sample.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": options.full_name,
    },
)
app.command("prepare")(prepare.prepare)
app.command("train", cls=train.TrainCommand)(train.train)
app.command("eval")(evaluate.evaluate)
app.command("sample")(sample.sample)
app.command("score")(score.score)
app.command("list")(listing.list_all)
app.command("info")(info.info)
app.command("plot")(plot.plot)
app.add_typer(lab.lab, name="lab", cls=Group)
app.command("corpora")(corpora.corpora)
for registered in (*app.registered_commands, *lab.lab.registered_commands):
    if registered.cls is typer.core.TyperCommand:
        registered.cls = Command


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
            "--version",
            "-V",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Train recurrent language models on text and sample from them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (errors.py has those of failures)."""
    given = _as_options(_command_line() if arguments is None else list(arguments))
    invocation = options.Invocation(debug=os.environ.get("CHARNN_DEBUG", "0") not in ("", "0"))
    try:
        with unwinding():
            code = app(given, prog_name="charnn", standalone_mode=False, obj=invocation)
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated as terminated:
        return terminated.exit_code
    except SystemExit as ended:  # raised by Typer: shell completion, or help with a broken pipe
        if isinstance(ended.__context__, BrokenPipeError):
            return READER_GONE
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as error:
        return _fail(_for_the_user(error, given), debug=invocation.debug)


def _as_options(given: list[str]) -> list[str]:
    """Return the arguments with --help for `help [COMMAND]` and --version for `version`."""
    match given:
        case ["help", *command]:
            return [*command, "--help"]
        case ["version"]:
            return ["--version"]
    return given


def _command_line() -> list[str]:
    """Return the arguments decoded as UTF-8, whatever the locale is."""
    return [os.fsencode(argument).decode("utf-8", "surrogateescape") for argument in sys.argv[1:]]


def _for_the_user(error: Exception, given: Sequence[str]) -> CharnnError:
    """Return any failure as an error that says what happened and what to do."""
    if isinstance(error, CharnnError):
        return error
    if isinstance(error, typer.TyperException):  # a mistake on the command line
        commands = [str(info.name) for info in app.registered_commands]
        command = next((name for name in given if name in commands), "")
        shown: CharnnError = worded(error, f"charnn {command}".rstrip(), given)
    elif isinstance(error, MemoryError):
        shown = CharnnError("out of memory", "use a smaller model or a shorter text")
    elif isinstance(error, OSError):
        shown = StorageError(str(error))
    else:
        shown = CharnnError(
            f"{type(error).__name__}: {error}",
            "this is a bug in charnn; please report what --debug shows",
        )
    shown.__cause__ = error
    return shown


def _fail(error: CharnnError, *, debug: bool) -> int:
    from charnn.display.messages import Display

    if error.message:
        Display().error(error, debug=debug)
    return error.exit_code


def run() -> None:
    """Run the console script."""
    _insist_on_utf8()
    sys.exit(main())


def _insist_on_utf8() -> None:
    """Start Python again in UTF-8 mode if the locale would encode paths otherwise.

    Python chooses the encoding before it runs any code, and PEP 538 and PEP 540 cover the locales
    C and POSIX only. PYTHONUTF8 in the environment shows that this was done already.
    """
    name = "PYTHONUTF8"
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get(name) == "1":
        return
    with contextlib.suppress(OSError):
        os.execve(  # noqa: S606 - the same program and arguments
            sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, name: "1"}
        )
