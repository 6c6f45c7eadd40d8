"""Find stop strings in a stream of bytes and withhold text that may begin one."""

from collections.abc import Iterable


class StopMatcher:
    """Lets bytes through until a stop string is complete, however they are cut into pieces.

    The stop string that is complete first counts, and of those complete at the same byte the
    longest; what came before it gets out, it and all that follows does not. UTF-8 synchronises
    itself, so whole characters in the stop strings match whole characters only.
    """

    def __init__(self, stops: Iterable[bytes]) -> None:
        self.stops = tuple(filter(None, stops))
        self.starts = frozenset(stop[0] for stop in self.stops)
        self.held = b""  # a suffix of the stream that a stop string begins with
        self.matched = False

    def feed(self, piece: bytes) -> bytes:
        """The bytes that may get out now that `piece` has come; none after a match."""
        if self.matched:
            return b""
        if not self.held and self.starts.isdisjoint(piece):
            return piece  # by far the most frequent case
        text = self.held + piece
        ends = [(at + len(stop), at) for stop in self.stops if (at := text.find(stop)) >= 0]
        if ends:
            self.matched = True
            self.held = b""
            return text[: min(ends)[1]]
        keep = max(map(self._begun, self.stops, [text] * len(self.stops)), default=0)
        cut = len(text) - keep
        self.held = text[cut:]
        return text[:cut]

    def flush(self) -> bytes:
        """What was held back, at the end of the stream: no stop string can complete it."""
        held, self.held = self.held, b""
        return held

    @staticmethod
    def _begun(stop: bytes, text: bytes) -> int:
        """Length of the longest proper beginning of `stop` that `text` ends with."""
        longest = min(len(stop) - 1, len(text))
        return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
