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

PATIENCE = 0.2  # seconds that text waits for more, where nobody looks at every token

SampleEvent = Piece | Sample


@dataclass(frozen=True)
class Style:
    """How texts are put out: `prompt` before each, `separator` between them.

    `raw` is None for exact bytes in a pipe and harmless ones on a terminal. `null` ends each
    sample with the separator, and adds no newline.
    """

    prompt: str = ""
    separator: str = "\n"
    raw: bool | None = None
    null: bool = False
    unbuffered: bool = False


def write_text(events: Iterable[SampleEvent], style: Style) -> None:
    """Samples as text, and a newline at the end where one is missing.

    What has been drawn is put out also where drawing, or what follows it, fails.
    """
    output = Output(unbuffered=style.unbuffered)
    safe = output.is_terminal if style.raw is None else not style.raw
    last = b""
    flushed = time.monotonic()

    def put(data: bytes) -> None:
        nonlocal last
        last = data or last
        output.write(visible(data.decode("utf-8", "surrogateescape")).encode() if safe else data)

    current: int | None = None
    prompt, separator = (
        text.encode("utf-8", "surrogateescape") for text in (style.prompt, style.separator)
    )

    def finish() -> None:
        if current is not None and not (last.endswith(b"\n") or style.null or style.raw):
            put(b"\n")
        output.flush()

    try:
        for event in events:
            if event.index != current:
                put(separator if current is not None and not style.null else b"")
                put(prompt)
                current = event.index
            if isinstance(event, Piece):
                put(event.data if style.raw else replace_invalid(event.data))
            elif style.null:
                put(separator)
            now = time.monotonic()
            if output.is_terminal or now - flushed > PATIENCE:
                output.flush()
                flushed = now
    except CharnnError:  # not what asks to stop: the reader may be stuck
        with contextlib.suppress(CharnnError):  # what ended the text is what to tell
            finish()
        raise
    finish()


def replace_invalid(data: bytes) -> bytes:
    """Return UTF-8 with U+FFFD for bytes that are not."""
    return data if data.isascii() else data.decode("utf-8", "replace").encode()


def write_json(events: Iterable[SampleEvent], prompt: str, seed: int, *, one_object: bool) -> None:
    """One object a sample as each is done, or all of them in one."""
    output = Output()
    done: list[dict[str, Any]] = []
    for data, end in whole(events):
        row = {
            "index": end.index,
            "seed": seed,
            "text": prompt + data.decode("utf-8", "replace"),
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


def whole(events: Iterable[SampleEvent]) -> Iterator[tuple[bytes, Sample]]:
    """Yield the bytes and the end of each sample."""
    data = bytearray()
    for event in events:
        if isinstance(event, Piece):
            data += event.data
        else:
            yield bytes(data), event
            data.clear()


class Novel:
    """Lets samples through whose longest copied piece is shorter than a limit; counts the others.

    `longest` gives that of a text, in characters.
    """

    def __init__(self, longest: Callable[[str], int], limit: int) -> None:
        self.longest, self.limit, self.dropped = longest, limit, 0

    def among(self, events: Iterable[SampleEvent]) -> Iterator[SampleEvent]:
        """The events of the samples that are new, each sample at once."""
        for data, end in whole(events):
            if self.longest(data.decode("utf-8", "replace")) >= self.limit:
                self.dropped += 1
                continue
            if data:
                yield Piece(end.index, data)
            yield end
