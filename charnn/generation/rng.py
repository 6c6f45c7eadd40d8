"""A reproducible, seekable stream of random numbers for each sample."""

import random

BLOCK = 65_536  # numbers that one generator gives; to go on at any of them skips fewer than these


class Uniforms:
    """The numbers of sample `index` of a seed, each in [0, 1), from number `drawn` on.

    They come in blocks, each with a generator of its own, so that where a long text goes on costs
    no more than where it begins. `drawn` counts those of the whole text so far.
    """

    def __init__(self, seed: int, index: int, drawn: int = 0) -> None:
        self.name, self.drawn = f"{seed}:{index}", drawn
        block, skipped = divmod(drawn, BLOCK)
        self._begin(block)
        for _ in range(skipped):
            self._random()

    def draw(self) -> float:
        """The next number."""
        if self.drawn and self.drawn % BLOCK == 0:
            self._begin(self.drawn // BLOCK)
        self.drawn += 1
        return self._random()

    def _begin(self, block: int) -> None:
        name = f"{self.name}:{block}" if block else self.name
        self._random = random.Random(name).random  # noqa: S311 - no secret
