"""Generate a reproducible, seekable stream of random numbers for each sample."""

import random

BLOCK = 65_536  # numbers per generator; seeking skips fewer than these


class RandomStream:
    """The uniform random numbers of sample `index` for a seed, starting at position `drawn`.

    The stream consists of blocks, each with its own generator, so that the time of seeking is
    bounded at any position. `drawn` counts all numbers since the start of the stream.
    """

    def __init__(self, seed: int, index: int, drawn: int = 0) -> None:
        self.name, self.drawn = f"{seed}:{index}", drawn
        block, skipped = divmod(drawn, BLOCK)
        self._start_block(block)
        for _ in range(skipped):
            self._random()

    def draw(self) -> float:
        """Return the next number, in [0, 1)."""
        if self.drawn and self.drawn % BLOCK == 0:
            self._start_block(self.drawn // BLOCK)
        self.drawn += 1
        return self._random()

    def _start_block(self, block: int) -> None:
        name = f"{self.name}:{block}" if block else self.name
        self._random = random.Random(name).random  # noqa: S311 - not used for secrets
