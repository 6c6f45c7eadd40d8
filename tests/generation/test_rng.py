"""Random numbers of samples: always the same ones, wherever a text goes on."""

import random
from itertools import islice

import pytest

from charnn.generation.rng import BLOCK, RandomStream


def numbers(uniforms, count):
    """So many of the next numbers."""
    return list(islice(iter(uniforms.draw, None), count))


def test_the_first_block_is_that_of_the_seed_and_the_index() -> None:
    """Samples keep their text from version to version."""
    generator = random.Random("7:3")

    assert numbers(RandomStream(7, 3), 50) == [generator.random() for _ in range(50)]


@pytest.mark.parametrize("drawn", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_going_on_anywhere_is_as_good_as_one_run(drawn) -> None:
    """In the middle of a block, at its border, and across it."""
    whole = numbers(RandomStream(1, 0), BLOCK + 20)
    later = RandomStream(1, 0, drawn)

    assert numbers(later, BLOCK + 20 - drawn) == whole[drawn:]
    assert later.drawn == BLOCK + 20


def test_blocks_differ() -> None:
    """Also from the first blocks of other samples."""
    starts = [
        RandomStream(1, index, block * BLOCK).draw() for index in (0, 1) for block in range(9)
    ]

    assert len(set(starts)) == len(starts)


def test_a_number_far_away_is_there_at_once() -> None:
    """A file may claim any count."""
    assert 0 <= RandomStream(1, 0, 10**39).draw() < 1
