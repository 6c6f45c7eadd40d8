"""Messages and the live line on stderr, and tables."""

import io
import re
import subprocess
import sys

import pytest

from charnn.display.messages import Display, table
from charnn.errors import DataError, StorageError, UsageError


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Remove environment variables of the caller that affect colors."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_error_without_a_terminal_is_plain_lines():
    """The message is one line, the hint the next, without control codes."""
    stream = io.StringIO()
    Display(stream=stream).error(DataError("a.txt: byte 3: not UTF-8", "try --encoding latin-1"))
    assert (
        stream.getvalue()
        == "charnn: error: a.txt: byte 3: not UTF-8\nhint: try --encoding latin-1\n"
    )


def test_control_characters_in_messages_are_escaped():
    """A file name with a newline or an escape sequence cannot fake a hint."""
    stream = io.StringIO()
    Display(stream=stream).error(StorageError("cannot read x\nhint: rm -rf ~\x1b[2J", ""))
    assert stream.getvalue() == "charnn: error: cannot read x\\nhint: rm -rf ~\\x1b[2J\n"


def test_rich_markup_in_messages_is_not_interpreted():
    """Square brackets are printed literally, with and without a terminal."""
    for stream in (io.StringIO(), Terminal()):
        Display(stream=stream).note("[bold]x[/bold] [/]")
        assert stream.getvalue() == "[bold]x[/bold] [/]\n"


def test_long_messages_are_not_wrapped():
    """A message of any length is one line."""
    stream = io.StringIO()
    Display(stream=stream).note("word " * 1000)
    assert stream.getvalue() == "word " * 1000 + "\n"


def test_error_without_a_message_prints_nothing():
    """A broken pipe, for instance, is not reported."""
    stream = io.StringIO()
    Display(stream=stream).error(UsageError("", "hint"))
    assert stream.getvalue() == ""


def test_debug_prints_the_traceback_before_the_message():
    """Control characters in the traceback are escaped."""
    stream = io.StringIO()
    try:
        try:
            raise ValueError("\x1b[31m")
        except ValueError as cause:
            raise DataError("bad file") from cause
    except DataError as error:
        Display(stream=stream).error(error, debug=True)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "ValueError: \\x1b[31m" in lines
    assert lines[-1] == "charnn: error: bad file"


def test_quiet_suppresses_all_but_warnings_and_errors():
    """--quiet suppresses hints, notes and the live line."""
    stream = Terminal()
    display = Display(quiet=True, stream=stream)
    display.hint("next")
    display.note("done")
    display.paint(lambda width: "live")
    display.settle()
    assert stream.getvalue() == ""
    display.warning("disk nearly full")
    display.error(UsageError("no such flag"))
    assert "disk nearly full" in stream.getvalue()
    assert "no such flag" in stream.getvalue()


def test_colors_are_written_to_terminals_only(monkeypatch):
    """FORCE_COLOR does not enable them in a pipe; NO_COLOR and TERM=dumb disable them."""
    error = UsageError("x", "y")

    def printed(stream):
        Display(stream=stream).error(error)
        Display(stream=stream).hint("z")
        return stream.getvalue()

    assert "\x1b[" in printed(Terminal())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in printed(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in printed(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # equals not set
    assert "\x1b" in printed(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in printed(Terminal())


def test_messages_are_printed_above_the_live_line():
    """The live line is cleared and, after the message, printed again."""
    stream = Terminal()
    display = Display(stream=stream)
    display.paint(lambda width: "50 %")
    display.note("saved")
    display.settle()
    assert stream.getvalue() == "\r\x1b[J50 %\r" + "\r\x1b[Jsaved\n50 %\r" + "\r\x1b[J50 %\r\n"


def test_live_line_can_be_removed_at_its_end():
    """With keep=False, the last output clears the line."""
    stream = Terminal()
    display = Display(stream=stream)
    display.paint(lambda width: "50 %")
    display.settle(keep=False)
    assert stream.getvalue().endswith("\r\x1b[J")


def test_no_live_line_without_a_terminal():
    """Nothing is written to a pipe, no carriage return either."""
    stream = io.StringIO()
    display = Display(stream=stream)
    display.paint(lambda width: "50 %")
    display.settle()
    assert stream.getvalue() == ""


class _Broken(io.StringIO):
    def write(self, text):
        raise OSError(5, "Input/output error")


def test_errors_of_the_stream_are_ignored():
    """A terminal that was closed does not end a training run."""
    Display(stream=_Broken()).warning("x")
    closed = io.StringIO()
    closed.close()
    Display(stream=closed).warning("x")


def test_closed_stderr_is_ignored():
    """With `2>&-` messages are lost, but the program continues."""
    code = "from charnn.display.messages import Display; Display().warning('x'); print('on')"
    command = f'"{sys.executable}" -c "{code}" 2>&-'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_importing_display_is_fast():
    """Every command imports it, so it imports neither Rich nor larger libraries."""
    code = "import sys, charnn.display; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"rich", "torch", "numpy", "matplotlib", "typer"}


def test_table_aligns_text_left_and_numbers_right():
    """Columns are two spaces apart, wide characters count twice, lines have no trailing spaces."""
    rows = [["tiny[bold]", "12.3 MB", "1,003,854"], ["唐诗", "1 B", "-"]]
    assert table(["name", "size", "tokens"], rows, title="Corpora").split("\n") == [
        "Corpora",
        "name           size     tokens",
        "tiny[bold]  12.3 MB  1,003,854",
        "唐诗            1 B          -",
    ]


def test_table_wraps_only_to_a_given_width():
    """Without a width a row is one line; with a width, long cells are wrapped."""
    rows = [["a", "word " * 50]]
    assert len(table(["name", "text"], rows).split("\n")) == 2
    folded = table(["name", "text"], rows, width=40).split("\n")
    assert len(folded) > 2
    assert max(map(len, folded)) <= 40


def test_table_escapes_control_characters_in_cells(monkeypatch):
    """Cells may come from untrusted files; they contain no colors either."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert table(["[red]x"], [["\x1b[31m\n"]]) == "[red]x\n\\x1b[31m\\n"


def test_table_escapes_control_characters_in_headers():
    """Headers may be keys of an untrusted file."""
    assert "\x1b" not in table(["a\x1b[2J"], [["1"]])
    assert r"a\x1b[2J" in table(["a\x1b[2J"], [["1"]])


def test_table_without_rows_is_its_header():
    """An empty list is valid."""
    assert re.sub(" +", " ", table(["name", "size"], [])) == "name size"
