import io
import re
import subprocess
import sys

import pytest

from charnn.display.messages import Display, table
from charnn.errors import DataError, StorageError, UsageError


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No wish of the person who runs the tests decides their outcome."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_an_error_is_plain_lines_without_a_terminal():
    """What and where on one line, the remedy on the next, no control codes."""
    stream = io.StringIO()
    Display(stream=stream).error(DataError("a.txt: byte 3: not UTF-8", "try --encoding latin-1"))
    assert (
        stream.getvalue()
        == "charnn: error: a.txt: byte 3: not UTF-8\nhint: try --encoding latin-1\n"
    )


def test_a_message_cannot_forge_another_line():
    """A file name with a newline or an escape sequence in it is shown, not obeyed."""
    stream = io.StringIO()
    Display(stream=stream).error(StorageError("cannot read x\nhint: rm -rf ~\x1b[2J", ""))
    assert stream.getvalue() == "charnn: error: cannot read x\\nhint: rm -rf ~\\x1b[2J\n"


def test_markup_of_rich_is_ordinary_text():
    """Square brackets in names are brackets, on a terminal and off."""
    for stream in (io.StringIO(), Terminal()):
        Display(stream=stream).note("[bold]x[/bold] [/]")
        assert stream.getvalue() == "[bold]x[/bold] [/]\n"


def test_nothing_wraps():
    """A line stays a line, however long."""
    stream = io.StringIO()
    Display(stream=stream).note("word " * 1000)
    assert stream.getvalue() == "word " * 1000 + "\n"


def test_an_error_without_a_message_is_silent():
    """An end that needs no words, such as a reader that went away, gets none."""
    stream = io.StringIO()
    Display(stream=stream).error(UsageError("", "hint"))
    assert stream.getvalue() == ""


def test_debug_shows_where_it_happened():
    """The traceback comes first, the message stays last; neither steers the terminal."""
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


def test_quiet_silences_all_but_warnings_and_errors():
    """--quiet is for people who want to hear only of trouble."""
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


def test_colours_are_for_terminals_alone(monkeypatch):
    """Not even FORCE_COLOR puts a control code into a pipe; NO_COLOR takes them all away."""
    error = UsageError("x", "y")

    def said(stream):
        Display(stream=stream).error(error)
        Display(stream=stream).hint("z")
        return stream.getvalue()

    assert "\x1b[" in said(Terminal())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in said(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in said(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # as good as not set
    assert "\x1b" in said(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in said(Terminal())


def test_messages_appear_above_the_live_line():
    """The live line is cleared, the message printed, the live line painted again below it."""
    stream = Terminal()
    display = Display(stream=stream)
    display.paint(lambda width: "50 %")
    display.note("saved")
    display.settle()
    assert stream.getvalue() == "\r\x1b[J50 %\r" + "\r\x1b[Jsaved\n50 %\r" + "\r\x1b[J50 %\r\n"


def test_a_live_line_can_go_without_a_trace():
    """What is of no interest afterwards is cleared away."""
    stream = Terminal()
    display = Display(stream=stream)
    display.paint(lambda width: "50 %")
    display.settle(keep=False)
    assert stream.getvalue().endswith("\r\x1b[J")


def test_there_is_no_live_line_without_a_terminal():
    """No carriage return is ever written into a pipe."""
    stream = io.StringIO()
    display = Display(stream=stream)
    display.paint(lambda width: "50 %")
    display.settle()
    assert stream.getvalue() == ""


class _Broken(io.StringIO):
    def write(self, text):
        raise OSError(5, "Input/output error")


def test_a_stream_that_fails_stops_nobody():
    """A terminal that went away is no reason to lose a training run."""
    Display(stream=_Broken()).warning("x")
    closed = io.StringIO()
    closed.close()
    Display(stream=closed).warning("x")


def test_a_closed_stderr_is_no_reason_to_fail():
    """`2>&-` silences, no more."""
    code = "from charnn.display.messages import Display; Display().warning('x'); print('on')"
    command = f'"{sys.executable}" -c "{code}" 2>&-'
    ended = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "on\n")


def test_the_display_is_cheap_to_import():
    """It is part of every command, so it loads neither Rich nor anything heavier."""
    code = "import sys, charnn.display; print(*{name.partition('.')[0] for name in sys.modules})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(ended.stdout.split()) & {"rich", "torch", "numpy", "matplotlib", "typer"}


def test_a_table_aligns_words_left_and_numbers_right():
    """Columns are two spaces apart, wide characters count twice, lines have no trailing spaces."""
    rows = [["tiny[bold]", "12.3 MB", "1,003,854"], ["唐诗", "1 B", "-"]]
    assert table(["name", "size", "tokens"], rows, title="Corpora").split("\n") == [
        "Corpora",
        "name           size     tokens",
        "tiny[bold]  12.3 MB  1,003,854",
        "唐诗            1 B          -",
    ]


def test_a_table_wraps_only_where_a_width_is_given():
    """In a pipe a row is a line; on a terminal a long cell is folded."""
    rows = [["a", "word " * 50]]
    assert len(table(["name", "text"], rows).split("\n")) == 2
    folded = table(["name", "text"], rows, width=40).split("\n")
    assert len(folded) > 2
    assert max(map(len, folded)) <= 40


def test_a_table_shows_control_characters(monkeypatch):
    """Cells come from files; they steer nothing, and no colour is put out."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert table(["[red]x"], [["\x1b[31m\n"]]) == "[red]x\n\\x1b[31m\\n"


def test_headers_of_a_table_show_control_characters_too():
    """They may be keys out of a file."""
    assert "\x1b" not in table(["a\x1b[2J"], [["1"]])
    assert r"a\x1b[2J" in table(["a\x1b[2J"], [["1"]])


def test_a_table_without_rows_is_its_header():
    """An empty list is still a table."""
    assert re.sub(" +", " ", table(["name", "size"], [])) == "name size"
