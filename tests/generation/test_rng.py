"""The random streams of samples: reproducible and seekable."""

import random
from itertools import islice

import pytest

from charnn.generation.rng import BLOCK, RandomStream


def numbers(uniforms, count):
    """Return the next `count` numbers."""
    return list(islice(iter(uniforms.draw, None), count))


def test_first_block_depends_on_seed_and_index_only() -> None:
    """The numbers must not change between versions, so that samples stay reproducible."""
    generator = random.Random("7:3")

    assert numbers(RandomStream(7, 3), 50) == [generator.random() for _ in range(50)]


@pytest.mark.parametrize("drawn", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_seeking_continues_the_same_stream(drawn) -> None:
    """It works inside a block, at its border, and across it."""
    full = numbers(RandomStream(1, 0), BLOCK + 20)
    later = RandomStream(1, 0, drawn)

    assert numbers(later, BLOCK + 20 - drawn) == full[drawn:]
    assert later.drawn == BLOCK + 20


def test_blocks_differ() -> None:
    """No two blocks of two samples start with the same number."""
    starts = [
        RandomStream(1, index, block * BLOCK).draw() for index in (0, 1) for block in range(9)
    ]

    assert len(set(starts)) == len(starts)


def test_seeking_far_takes_bounded_time() -> None:
    """A state file may contain any position."""
    assert 0 <= RandomStream(1, 0, 10**39).draw() < 1
