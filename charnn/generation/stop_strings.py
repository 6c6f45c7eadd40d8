"""Find stop strings in a stream of bytes and withhold text that may begin one."""

from collections.abc import Iterable


class StopMatcher:
    """Pass bytes through until a stop string occurs; the result does not depend on the pieces.

    The stream ends at the stop string that ends first; if several end at the same byte, at the
    longest of them. The stop string and all bytes after it are dropped. Comparing bytes is enough,
    because in UTF-8 a match of complete characters starts and ends at character boundaries.
    """

    def __init__(self, stops: Iterable[bytes]) -> None:
        self.stops = tuple(stop for stop in stops if stop)
        self.first_bytes = frozenset(stop[0] for stop in self.stops)
        self.held = b""  # withheld bytes: the end of the stream so far that begins a stop string
        self.matched = False

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes; return those that can be output, none after a match."""
        if self.matched:
            return b""
        if not self.held and self.first_bytes.isdisjoint(piece):
            return piece  # fast path for most pieces
        text = self.held + piece
        found = [
            (start + len(stop), start) for stop in self.stops if (start := text.find(stop)) >= 0
        ]
        if found:
            self.matched = True
            self.held = b""
            _, start = min(found)
            return text[:start]
        cut = len(text) - max((_overlap(text, stop) for stop in self.stops), default=0)
        self.held = text[cut:]
        return text[:cut]

    def flush(self) -> bytes:
        """Return the withheld bytes at the end of the stream, where no stop string can follow."""
        held, self.held = self.held, b""
        return held


def _overlap(text: bytes, stop: bytes) -> int:
    """Return the length of the longest proper prefix of `stop` that is a suffix of `text`."""
    longest = min(len(stop) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
