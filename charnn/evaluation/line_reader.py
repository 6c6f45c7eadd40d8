"""Read lines from a stream of bytes; divide very long lines into pieces."""

import os
import select
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

LONG_LINE = 1 << 16  # bytes; longer lines are divided into pieces of exactly this length
ENOUGH = 1 << 17  # bytes of lines that are yielded at once: a few seconds of scoring
BLOCK = 1 << 16  # bytes per read


class Part(NamedTuple):
    """A line without its newline, or a piece of a long line."""

    data: bytes
    begins: bool = True
    ends: bool = True

    @property
    def is_line(self) -> bool:
        """Whether it is a complete line."""
        return self.begins and self.ends


def lines(chunks: Iterable[bytes], has_more: Callable[[], bool]) -> Iterator[list[Part]]:
    """Yield the lines of a stream in batches: all that have arrived, up to about ENOUGH bytes.

    `has_more` returns whether the next chunk can be read without waiting. How a long line is
    divided depends only on the line. The last line does not need a newline.
    """
    ready: list[Part] = []
    size = 0
    waiting, begins = b"", True  # bytes of the incomplete line, whether they begin it
    for chunk in chunks:
        *complete, waiting = (waiting + chunk).split(b"\n")
        for line in complete:
            ready += cut_line(line, begins=begins)
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


def cut_line(line: bytes, *, begins: bool = True) -> list[Part]:
    """Divide a line, or the rest of one, into pieces of LONG_LINE bytes."""
    starts = range(0, max(1, len(line)), LONG_LINE)
    return [
        Part(
            line[start : start + LONG_LINE],
            begins=begins and start == 0,
            ends=start + LONG_LINE >= len(line),
        )
        for start in starts
    ]


def whole_text(chunks: Iterable[bytes]) -> Iterator[list[Part]]:
    """Yield the whole stream as the pieces of one line that includes the newlines."""
    waiting, begins = b"", True
    for chunk in chunks:
        waiting += chunk
        while len(waiting) > LONG_LINE:
            yield [Part(waiting[:LONG_LINE], begins, ends=False)]
            waiting, begins = waiting[LONG_LINE:], False
    yield [Part(waiting, begins)]


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """Yield the bytes of a file, a pipe or a terminal as they arrive."""
    while True:
        try:
            chunk = os.read(descriptor, BLOCK)
        except BlockingIOError:  # another process set it to non-blocking
            select.select([descriptor], [], [])
            continue
        if not chunk:
            return
        yield chunk


def is_ready(descriptor: int) -> bool:
    """Return whether bytes can be read without waiting; False if the system cannot tell."""
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    except (OSError, ValueError):
        return False
