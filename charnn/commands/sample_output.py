"""Write samples to stdout as text or JSON; omit samples that copy the corpus."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from charnn.display.stdout import Output, print_json
from charnn.errors import CharnnError
from charnn.escape import visible
from charnn.generation.generate import Piece, Sample

FLUSH_SECONDS = 0.2  # interval between two flushes if stdout is a file or a pipe

SampleEvent = Piece | Sample
Show = Callable[[str, float], None]  # takes the current work and the fraction that is done


@dataclass(frozen=True)
class Style:
    """The output format of samples: `prompt` precedes each, `separator` is between them.

    If `raw` is True, bytes are written unchanged; if False, control characters are escaped; if
    None, they are escaped only on a terminal. If `null` is set, the separator follows each sample,
    and no newline is added.
    """

    prompt: str = ""
    separator: str = "\n"
    raw: bool | None = None
    null: bool = False
    unbuffered: bool = False


class TextWriter:
    """A writer of the text of samples to stdout, piece by piece."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._prompt, self._separator = (
            text.encode("utf-8", "surrogateescape") for text in (style.prompt, style.separator)
        )
        self._output = Output(unbuffered=style.unbuffered)
        self._is_safe = self._output.is_terminal if style.raw is None else not style.raw
        self._index: int | None = None  # index of the current sample
        self._last = b""  # the bytes written last
        self._flushed = time.monotonic()

    def begin_sample(self, index: int) -> None:
        """Write separator and prompt, unless the sample is the current one."""
        if index != self._index:
            if self._index is not None and not self._style.null:
                self._put(self._separator)
            self._put(self._prompt)
            self._index = index

    def put_piece(self, data: bytes) -> None:
        """Write bytes of the current sample. Unless raw, replace invalid UTF-8 by U+FFFD."""
        self._put(data if self._style.raw else replace_invalid(data))

    def end_sample(self) -> None:
        """Write the end of a sample."""
        if self._style.null:
            self._put(self._separator)

    def flush(self) -> None:
        """Flush stdout: immediately on a terminal, else every FLUSH_SECONDS."""
        now = time.monotonic()
        if self._output.is_terminal or now - self._flushed > FLUSH_SECONDS:
            self._output.flush()
            self._flushed = now

    def close(self) -> None:
        """Add a newline at the end if it is missing, and flush stdout."""
        is_complete = self._last.endswith(b"\n") or self._style.null or self._style.raw
        if self._index is not None and not is_complete:
            self._put(b"\n")
        self._output.flush()

    def _put(self, data: bytes) -> None:
        self._last = data or self._last
        if self._is_safe:
            data = visible(data.decode("utf-8", "surrogateescape")).encode()
        self._output.write(data)


def write_text(events: Iterable[SampleEvent], style: Style) -> None:
    """Write samples as text. If generation fails, write the text generated so far."""
    writer = TextWriter(style)
    try:
        for event in events:
            writer.begin_sample(event.index)
            if isinstance(event, Piece):
                writer.put_piece(event.data)
            else:
                writer.end_sample()
            writer.flush()
    except CharnnError:  # not for signals: writing could block if stdout is not read
        with contextlib.suppress(CharnnError):  # report the first error
            writer.close()
        raise
    writer.close()


def replace_invalid(data: bytes) -> bytes:
    """Return the data with U+FFFD for invalid UTF-8."""
    return data if data.isascii() else data.decode("utf-8", "replace").encode()


def write_json(
    events: Iterable[SampleEvent], prompt: str, seed: int, *, one_object: bool, samples: int = 1
) -> None:
    """Write a JSON object per sample when it ends, or one object for all `samples`.

    That object is the sample itself if one was wanted, otherwise it has a list, also if all samples
    were dropped.
    """
    done: list[dict[str, Any]] = []
    for data, end in complete_samples(events):
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
            print_json(row)
    if one_object:
        print_json(done[0] if samples == len(done) == 1 else {"seed": seed, "samples": done})


def complete_samples(events: Iterable[SampleEvent]) -> Iterator[tuple[bytes, Sample]]:
    """Yield the bytes and the final event of each sample."""
    data = bytearray()
    for event in events:
        if isinstance(event, Piece):
            data += event.data
        else:
            yield bytes(data), event
            data.clear()


class Selection:
    """A filter that keeps the first `wanted` samples that pass all tests, and counts the others.

    A test is a function from the text of a sample, including the prompt, to whether it passes. Its
    name describes the samples that fail, for example "repeated".
    """

    def __init__(self, tests: Mapping[str, Callable[[str], bool]], wanted: int) -> None:
        self.tests, self.wanted = tests, wanted
        self.kept = 0
        self.dropped = Counter[str]()

    def among(
        self, events: Iterable[SampleEvent], prompt: str, show: Show = lambda *_: None
    ) -> Iterator[SampleEvent]:
        """Yield the events of the samples that are kept, each as one piece; show the progress."""
        for data, end in complete_samples(events):
            show(self._counts(), self.kept / self.wanted)
            text = prompt + data.decode("utf-8", "replace")
            failed = next((name for name, test in self.tests.items() if not test(text)), None)
            if failed is not None:
                self.dropped[failed] += 1
                continue
            self.kept += 1
            if data:
                yield Piece(end.index, data)
            yield end
            if self.kept == self.wanted:
                return

    def summary(self) -> str:
        """Return how many samples were kept, of how many attempts, and why others were not."""
        reasons = ", ".join(f"{count:,} {name}" for name, count in self.dropped.items())
        return f"{self._counts()}; dropped: {reasons}" if reasons else self._counts()

    def _counts(self) -> str:
        attempts = self.kept + self.dropped.total()
        return (
            f"kept {self.kept:,} of {self.wanted:,} sample{'' if self.wanted == 1 else 's'} after "
            f"{attempts:,} attempt{'' if attempts == 1 else 's'}"
        )


class Unrepeated:
    """A test that each text passes only once."""

    def __init__(self) -> None:
        self._seen = set[str]()

    def __call__(self, text: str) -> bool:
        """Return whether the text has not been tested before."""
        is_new = text not in self._seen
        self._seen.add(text)
        return is_new
