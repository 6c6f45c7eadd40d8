"""Find stop strings in a stream of bytes and withhold text that may begin one."""

from collections.abc import Iterable


class StopMatcher:
    """Pass bytes through until a stop string is complete, however the stream is cut into pieces.

    The stop string that is complete first ends the stream; of several that are complete at the
    same byte, the longest. Bytes before it are passed on, the stop string and what follows are
    not. A match of whole UTF-8 characters begins and ends at character boundaries, so comparing
    bytes is enough.
    """

    def __init__(self, stops: Iterable[bytes]) -> None:
        self.stops = tuple(stop for stop in stops if stop)
        self.first_bytes = frozenset(stop[0] for stop in self.stops)
        self.held = b""  # the end of the stream so far that is the beginning of a stop string
        self.matched = False

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes; return those that can be output, none after a match."""
        if self.matched:
            return b""
        if not self.held and self.first_bytes.isdisjoint(piece):
            return piece  # by far the most frequent case
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
        """Return the bytes withheld, at the end of the stream: no stop string can complete."""
        held, self.held = self.held, b""
        return held


def _overlap(text: bytes, stop: bytes) -> int:
    """Length of the longest proper prefix of `stop` that is a suffix of `text`."""
    longest = min(len(stop) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
