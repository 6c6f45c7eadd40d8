"""Print messages, hints, warnings and one live line to stderr.

If stderr is not a terminal, only plain lines are printed. Control characters in messages are
escaped.
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
PLAIN_WIDTH = 80  # columns, if stderr is not a terminal
Render = Callable[[int], str]  # columns → one line that fits into them

# The cursor stays at the start of the live line, so that clearing from there to the end of the
# screen removes all of it, even if a narrower window has wrapped it. The cursor is never hidden,
# so that nothing has to be restored if the process is killed.
_CLEAR = "\r\x1b[J"
_NUMBER = re.compile(r"[-+]?\d[\d,.]*(e[-+]\d+)?( ?[\w%/]{1,6})?|-|")  # optionally with a unit


class Display:
    """Messages and one live line on stderr.

    `quiet` suppresses hints, notes and the live line, but not warnings and errors. A terminal with
    TERM=dumb is treated like a pipe. NO_COLOR disables colors. Control codes are never written to
    a stream that is not a terminal, not even with FORCE_COLOR. Write errors are ignored.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self._stream: TextIO | None = stream or sys.stderr  # None if stderr is closed
        self.is_terminal = terminal.supports_control_codes(self._stream)
        self.has_color = terminal.has_color(self._stream)
        self.has_unicode = terminal.has_unicode(self._stream)
        self._live: Render | None = None

    @property
    def width(self) -> int:
        """Current width of the terminal in columns; 80 if there is none."""
        if self.is_terminal and self._stream:
            with contextlib.suppress(OSError):
                return os.get_terminal_size(self._stream.fileno()).columns or PLAIN_WIDTH
        return PLAIN_WIDTH

    def hint(self, text: str) -> None:
        """Print what to do next, unless quiet."""
        if not self.quiet:
            self._line(self.styled(visible(text), CYAN))

    def note(self, text: str) -> None:
        """Print what was done or chosen, unless quiet; may have several lines."""
        if not self.quiet:
            self._line(visible(text))

    def warning(self, text: str) -> None:
        """Print a warning: a problem that does not end the command."""
        label = self.styled("charnn: warning:", YELLOW)
        self._line(f"{label} {visible(text, one_line=True)}")

    def error(self, error: CharnnError, *, debug: bool = False) -> None:
        """Print the message and the hint of an error, one line each.

        With `debug`, print the traceback first. Without a message, print neither line.
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
        """Return `text`, which must be escaped, with SGR codes if the stream has colors."""
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.has_color and codes else text

    def paint(self, render: Render) -> None:
        """Show the output of `render` for the current width as the live line (terminals only)."""
        if self.is_terminal and not self.quiet:
            self._live = render
            self._write(_CLEAR + self._rendered())

    def settle(self, *, keep: bool = True) -> None:
        """End the live line: print it as an ordinary line, or remove it."""
        if self._live:
            kept = self._rendered() + "\n" if keep else ""
            self._live = None
            self._write(_CLEAR + kept)

    def _line(self, text: str) -> None:
        clear = _CLEAR if self._live else ""
        self._write(f"{clear}{text}\n{self._rendered()}")

    def _rendered(self) -> str:
        # One column stays free, because some terminals wrap after a full line.
        return self._live(max(1, self.width - 1)) + "\r" if self._live else ""

    def _write(self, text: str) -> None:
        if self._stream:
            with contextlib.suppress(OSError, ValueError):  # the stream failed, or is closed
                self._stream.write(text)
                self._stream.flush()


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    width: int | None = None,
) -> str:
    """Return a table as text, with columns of numbers aligned to the right.

    Cells are wrapped so that the table fits into `width` columns; None disables wrapping. Markup
    in headers and cells is not interpreted.
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
