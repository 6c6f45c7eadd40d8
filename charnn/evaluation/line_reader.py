"""Read lines from a stream of bytes, very long lines in pieces."""

import os
import select
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

LONG_LINE = 1 << 16  # bytes; a longer line is handed on in pieces of exactly this length
ENOUGH = 1 << 20  # bytes of lines that are handed on at once
BLOCK = 1 << 16  # bytes read at once


class Part(NamedTuple):
    """A line without its line end, or a piece of a long one."""

    data: bytes
    begins: bool = True
    ends: bool = True

    @property
    def is_line(self) -> bool:
        """Whether it is a line as a whole."""
        return self.begins and self.ends


def lines(chunks: Iterable[bytes], has_more: Callable[[], bool]) -> Iterator[list[Part]]:
    """The lines of a stream, in order, a list at a time: what has come, up to about ENOUGH bytes.

    `has_more` says whether the next chunk can be had without waiting. How a line is cut depends
    on the line alone. A last line needs no line end.
    """
    ready: list[Part] = []
    size = 0
    waiting, begins = b"", True  # of the line that is not complete
    for chunk in chunks:
        *complete, waiting = (waiting + chunk).split(b"\n")
        for line in complete:
            ready += pieces(line, begins=begins)
            begins = True
        while len(waiting) > LONG_LINE:
            ready.append(Part(waiting[:LONG_LINE], begins, ends=False))
            waiting, begins = waiting[LONG_LINE:], False
        size += len(chunk)
        if ready and (size >= ENOUGH or not has_more()):
            yield ready
            ready, size = [], 0
    if waiting or not begins:
        ready.append(Part(waiting, begins))
    if ready:
        yield ready


def pieces(line: bytes, *, begins: bool = True) -> list[Part]:
    """A line, or what is left of one, cut after each LONG_LINE bytes."""
    starts = range(0, max(1, len(line)), LONG_LINE)
    return [
        Part(
            line[start : start + LONG_LINE],
            begins=begins and start == 0,
            ends=start + LONG_LINE >= len(line),
        )
        for start in starts
    ]


def whole(chunks: Iterable[bytes]) -> Iterator[list[Part]]:
    """The stream as a single line that is always handed on in pieces, line ends and all."""
    waiting, begins = b"", True
    for chunk in chunks:
        waiting += chunk
        while len(waiting) > LONG_LINE:
            yield [Part(waiting[:LONG_LINE], begins, ends=False)]
            waiting, begins = waiting[LONG_LINE:], False
    yield [Part(waiting, begins)]


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """What can be read from a file, a pipe or a terminal, as it comes."""
    while True:
        try:
            chunk = os.read(descriptor, BLOCK)
        except BlockingIOError:  # somebody made it non-blocking
            select.select([descriptor], [], [])
            continue
        if not chunk:
            return
        yield chunk


def is_ready(descriptor: int) -> bool:
    """Whether something can be read without waiting; where the system cannot tell, no."""
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    except (OSError, ValueError):
        return False
