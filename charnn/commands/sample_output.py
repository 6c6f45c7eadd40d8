"""Write samples to stdout as text or JSON; drop those that copy the corpus."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from charnn.display.stdout import Output
from charnn.errors import CharnnError
from charnn.escape import visible
from charnn.generation.generate import Piece, Sample
from charnn.storage.jsonio import to_json

FLUSH_SECONDS = 0.2  # between two flushes into a file or a pipe

SampleEvent = Piece | Sample


@dataclass(frozen=True)
class Style:
    """How samples are written: `prompt` before each, `separator` between them.

    `raw` True passes all bytes on, False makes control characters visible, None does so on a
    terminal only. With `null` the separator ends each sample, and no newline is added.
    """

    prompt: str = ""
    separator: str = "\n"
    raw: bool | None = None
    null: bool = False
    unbuffered: bool = False


class TextWriter:
    """Writes the text of samples to stdout, piece by piece."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._output = Output(unbuffered=style.unbuffered)
        self._is_safe = self._output.is_terminal if style.raw is None else not style.raw
        self._index: int | None = None  # of the current sample
        self._last = ""  # text that was written
        self._flushed = time.monotonic()

    def begin_sample(self, index: int) -> None:
        """Write what comes before a sample, unless it is the current one."""
        if index != self._index:
            if self._index is not None and not self._style.null:
                self.put(self._style.separator)
            self.put(self._style.prompt)
            self._index = index

    def put(self, text: str) -> None:
        """Write text of the current sample."""
        self._last = text or self._last
        shown = visible(text) if self._is_safe else text
        self._output.write(shown.encode("utf-8", "surrogateescape"))

    def end_sample(self) -> None:
        """Write what comes after a sample."""
        if self._style.null:
            self.put(self._style.separator)

    def flush(self) -> None:
        """Pass on what was written: at once to a terminal, else every FLUSH_SECONDS."""
        now = time.monotonic()
        if self._output.is_terminal or now - self._flushed > FLUSH_SECONDS:
            self._output.flush()
            self._flushed = now

    def close(self) -> None:
        """End the text with a newline where one is missing, and pass on everything."""
        is_complete = self._last.endswith("\n") or self._style.null or self._style.raw
        if self._index is not None and not is_complete:
            self.put("\n")
        self._output.flush()


def write_text(events: Iterable[SampleEvent], style: Style) -> None:
    """Write samples as text. What was drawn is written also if drawing the rest fails."""
    writer = TextWriter(style)
    try:
        for event in events:
            writer.begin_sample(event.index)
            if isinstance(event, Piece):
                writer.put(event.text)
            else:
                writer.end_sample()
            writer.flush()
    except CharnnError:  # not signals: the reader may have stopped reading
        with contextlib.suppress(CharnnError):  # the first error is the one to report
            writer.close()
        raise
    writer.close()


def write_json(events: Iterable[SampleEvent], prompt: str, seed: int, *, one_object: bool) -> None:
    """Write one JSON object per sample as soon as it ends, or one object for all."""
    output = Output()
    done: list[dict[str, Any]] = []
    for text, end in whole(events):
        row = {
            "index": end.index,
            "seed": seed,
            "text": prompt + text,
            "tokens": end.tokens,
            "loss": end.loss,
            "finish": end.finish,
        }
        if one_object:
            done.append(row)
        else:
            output.line(to_json(row))
            output.flush()
    if one_object:
        output.line(to_json({"seed": seed, "samples": done}))
    output.flush()


def whole(events: Iterable[SampleEvent]) -> Iterator[tuple[str, Sample]]:
    """Yield the text and the end of each sample."""
    pieces: list[str] = []
    for event in events:
        if isinstance(event, Piece):
            pieces.append(event.text)
        else:
            yield "".join(pieces), event
            pieces.clear()


class Novel:
    """Drops samples with a copied substring of `limit` or more characters, and counts them.

    `longest` returns the length of the longest copied substring of a text.
    """

    def __init__(self, longest: Callable[[str], int], limit: int) -> None:
        self.longest, self.limit, self.dropped = longest, limit, 0

    def among(self, events: Iterable[SampleEvent]) -> Iterator[SampleEvent]:
        """Yield the events of samples that are kept, each sample as one piece."""
        for text, end in whole(events):
            if self.longest(text) >= self.limit:
                self.dropped += 1
                continue
            if text:
                yield Piece(end.index, text)
            yield end
