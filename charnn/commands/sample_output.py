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
    last = ""
    flushed = time.monotonic()

    def put(text: str) -> None:
        nonlocal last
        last = text or last
        output.write((visible(text) if safe else text).encode("utf-8", "surrogateescape"))

    current: int | None = None

    def finish() -> None:
        if current is not None and not (last.endswith("\n") or style.null or style.raw):
            put("\n")
        output.flush()

    try:
        for event in events:
            if event.index != current:
                put(style.separator if current is not None and not style.null else "")
                put(style.prompt)
                current = event.index
            if isinstance(event, Piece):
                put(event.text)
            elif style.null:
                put(style.separator)
            now = time.monotonic()
            if output.is_terminal or now - flushed > PATIENCE:
                output.flush()
                flushed = now
    except CharnnError:  # not what asks to stop: the reader may be stuck
        with contextlib.suppress(CharnnError):  # what ended the text is what to tell
            finish()
        raise
    finish()


def write_json(events: Iterable[SampleEvent], prompt: str, seed: int, *, one_object: bool) -> None:
    """One object a sample as each is done, or all of them in one."""
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
    """The text of each sample, and how it ended."""
    pieces: list[str] = []
    for event in events:
        if isinstance(event, Piece):
            pieces.append(event.text)
        else:
            yield "".join(pieces), event
            pieces.clear()


class Novel:
    """Lets samples through whose longest copied piece is shorter than a limit; counts the others.

    `longest` gives that of a text, in characters.
    """

    def __init__(self, longest: Callable[[str], int], limit: int) -> None:
        self.longest, self.limit, self.dropped = longest, limit, 0

    def among(self, events: Iterable[SampleEvent]) -> Iterator[SampleEvent]:
        """The events of the samples that are new, each sample at once."""
        for text, end in whole(events):
            if self.longest(text) >= self.limit:
                self.dropped += 1
                continue
            if text:
                yield Piece(end.index, text)
            yield end
