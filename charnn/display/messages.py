"""Messages, hints, warnings and one live line on stderr.

Without a terminal everything is plain lines. Control characters in messages are escaped here.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Literal, TextIO

from charnn.display import terminal
from charnn.errors import CharnnError
from charnn.escape import visible

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"  # SGR codes of ECMA-48
PLAIN_WIDTH = 80  # columns, without a terminal
Render = Callable[[int], str]  # columns → one line that fits into them

# The cursor stays at the start of the live line, so that clearing from there to the end of the
# screen removes all of it, even if a narrower window has wrapped it. The cursor is never hidden,
# so that nothing has to be restored if the process is killed.
_CLEAR = "\r\x1b[J"
_NUMBER = re.compile(r"[-+]?\d[\d,.]*(e[-+]\d+)?( ?[\w%/]{1,6})?|-|")  # perhaps with a unit


class Display:
    """Messages and one live line on stderr.

    `quiet` silences hints, notes and the live line, never warnings and errors. A terminal with
    TERM=dumb counts as none. NO_COLOR removes colors; nothing, FORCE_COLOR included, writes a
    control code to a stream that is not a terminal. Errors of the stream are ignored.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self._stream: TextIO | None = stream or sys.stderr  # None where stderr is closed
        self.is_terminal = terminal.obeys_codes(self._stream)
        self.has_color = terminal.has_color(self._stream)
        self.has_unicode = terminal.has_unicode(self._stream)
        self._live: Render | None = None

    @property
    def width(self) -> int:
        """Current number of columns of the terminal."""
        if self.is_terminal and self._stream:
            with contextlib.suppress(OSError):
                return os.get_terminal_size(self._stream.fileno()).columns or PLAIN_WIDTH
        return PLAIN_WIDTH

    def hint(self, text: str) -> None:
        """Print what to do next."""
        if not self.quiet:
            self._line(self.styled(visible(text), CYAN))

    def note(self, text: str) -> None:
        """Print what was done or chosen; may have several lines."""
        if not self.quiet:
            self._line(visible(text))

    def warning(self, text: str) -> None:
        """Print a problem that does not end the command."""
        label = self.styled("charnn: warning:", YELLOW)
        self._line(f"{label} {visible(text, one_line=True)}")

    def error(self, error: CharnnError, *, debug: bool = False) -> None:
        """Print what failed and what to do about it, one line each; with `debug`, a traceback.

        An error without a message prints nothing.
        """
        if debug:
            import traceback

            self._line(visible("".join(traceback.format_exception(error))).rstrip("\n"))
        if error.message:
            label = self.styled("charnn: error:", BOLD, RED)
            self._line(f"{label} {visible(error.message, one_line=True)}")
        if error.message and error.hint:
            self._line(f"{self.styled('hint:', CYAN)} {visible(error.hint, one_line=True)}")

    def styled(self, text: str, *codes: str) -> str:
        """Return `text` with SGR codes if the stream has colors; it must be escaped already."""
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.has_color and codes else text

    def paint(self, render: Render) -> None:
        """Show on the live line what `render` returns for the current width (terminals only)."""
        if self.is_terminal and not self.quiet:
            self._live = render
            self._write(_CLEAR + self._painted())

    def settle(self, *, keep: bool = True) -> None:
        """End the live line: keep it as a printed line, or remove it."""
        if self._live:
            kept = self._painted() + "\n" if keep else ""
            self._live = None
            self._write(_CLEAR + kept)

    def _line(self, text: str) -> None:
        clear = _CLEAR if self._live else ""
        self._write(f"{clear}{text}\n{self._painted()}")

    def _painted(self) -> str:
        # One column stays free, because some terminals wrap after a full line.
        return self._live(max(1, self.width - 1)) + "\r" if self._live else ""

    def _write(self, text: str) -> None:
        if self._stream:
            with contextlib.suppress(OSError, ValueError):  # gone, or closed
                self._stream.write(text)
                self._stream.flush()


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    width: int | None = None,
) -> str:
    """Return a table as text, with numbers aligned to the right.

    Cells are wrapped to fit into `width` columns; None wraps nothing. Headers and cells are plain
    text without markup.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    plain = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for i, header in enumerate(headers):
        numeric = all(_NUMBER.fullmatch(row[i]) for row in rows)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        plain.add_column(Text(visible(header, one_line=True)), justify=justify, overflow="fold")
    for row in rows:
        plain.add_row(*(Text(visible(cell, one_line=True)) for cell in row))
    text = io.StringIO()
    console = Console(file=text, width=width or 1 << 20, force_terminal=False, color_system=None)
    console.print(plain)
    lines = [title, *text.getvalue().splitlines()] if title else text.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines)
