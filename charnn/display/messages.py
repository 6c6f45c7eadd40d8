"""Messages, hints, warnings and one live line on stderr.

Without a terminal everything is plain lines. Untrusted text is made harmless here.
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
PLAIN_WIDTH = 80  # columns, where a terminal does not tell
Render = Callable[[int], str]  # columns → one line that fits into them

# The cursor rests at the start of the live line, so that clearing from there to the end of the
# screen takes all of it away even when a narrower window has wrapped it. The cursor is never
# hidden: whatever kills the process, there is nothing to restore.
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
        """Columns of the terminal now."""
        if self.is_terminal and self._stream:
            with contextlib.suppress(OSError):
                return os.get_terminal_size(self._stream.fileno()).columns or PLAIN_WIDTH
        return PLAIN_WIDTH

    def hint(self, text: str) -> None:
        """Say what to do next."""
        if not self.quiet:
            self._line(self.styled(visible(text), CYAN))

    def note(self, text: str) -> None:
        """Say what was done or adapted; may have several lines."""
        if not self.quiet:
            self._line(visible(text))

    def warning(self, text: str) -> None:
        """Say what is wrong but can be lived with."""
        label = self.styled("charnn: warning:", YELLOW)
        self._line(f"{label} {visible(text, one_line=True)}")

    def error(self, error: CharnnError, *, debug: bool = False) -> None:
        """Say what failed and what to do about it, each on one line; with `debug`, also where.

        An error without a message is silent.
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
        """`text` in colour, where this stream has colours; it must be harmless already."""
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.has_color and codes else text

    def paint(self, render: Render) -> None:
        """Put what `render` gives for the width of now on the live line (terminals only)."""
        if self.is_terminal and not self.quiet:
            self._live = render
            self._write(_CLEAR + self._painted())

    def settle(self, *, keep: bool = True) -> None:
        """End the live line: it stays as the last line printed, or goes without a trace."""
        if self._live:
            kept = self._painted() + "\n" if keep else ""
            self._live = None
            self._write(_CLEAR + kept)

    def _line(self, text: str) -> None:
        clear = _CLEAR if self._live else ""
        self._write(f"{clear}{text}\n{self._painted()}")

    def _painted(self) -> str:
        # One column stays free: a full line would leave some terminals on the next one.
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
    """Aligned columns as text, numbers to the right, for a note or for stdout.

    Cells are wrapped to fit into `width` columns, for a terminal; None wraps nothing. No markup is
    read from headers and cells, and none is put out.
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
