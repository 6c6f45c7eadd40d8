"""The page of exit codes: one per class of error, and those of signals."""

from charnn import cli, errors
from charnn.commands import signals
from docs.generate import markdown

INTRODUCTION = """\
Every command ends with one of these codes. An error prints one message on stderr: what failed,
where, and what to do about it. `--debug` or `CHARNN_DEBUG=1` adds the traceback. In Python the
same errors are exceptions of the module `charnn.errors`."""
SUCCESS = (
    "Success. Also if `sample` with `--unique`, `--new` or `--novel` keeps fewer samples than "
    "`--samples`, which a warning reports."
)
INTERNAL = "A bug in charnn, or out of memory. Please report what `--debug` shows."
PIPE_CLOSED = "The reader of stdout closed the pipe, as `head` does. Nothing is printed."
STOPPED = "{signal} was received. A training run saves its state and prints how to resume it."


def page() -> str:
    """Return a table of exit codes, sorted by code."""
    rows = {0: ["", SUCCESS], errors.CharnnError.exit_code: ["`CharnnError`", INTERNAL]}
    for kind in errors.CharnnError.__subclasses__():
        rows[kind.exit_code] = [f"`{kind.__name__}`", markdown.first_paragraph(kind.__doc__)]
    names: dict[int, list[str]] = {}
    for name, code in signals.STOPPING.items():
        names.setdefault(code, []).append(name)
    for code, of_code in names.items():
        rows[code] = ["", STOPPED.format(signal=" or ".join(of_code))]
    rows[cli.READER_GONE] = ["", PIPE_CLOSED]
    table = markdown.table(
        ["code", "exception", "meaning"], [[str(code), *rows[code]] for code in sorted(rows)]
    )
    return markdown.page("Exit codes", INTRODUCTION, table)
