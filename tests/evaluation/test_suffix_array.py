"""The longest common piece of two texts: against looking for every piece, and how long it takes."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.evaluation.suffix_array import TextIndex, numbered, suffix_order
from charnn.tokenizers.char import code_points

FEW = st.text(alphabet="ab", max_size=80) | st.text(alphabet="abcé\n河😀", max_size=80)


def longest_by_search(text, corpus):
    """The longest overlap, found by trying all pieces."""
    pieces = (text[i:j] for i in range(len(text)) for j in range(i, len(text) + 1))
    return max((len(piece) for piece in pieces if piece in corpus), default=0)


@given(FEW, st.lists(FEW, max_size=4))
def test_longest_is_what_trying_all_pieces_finds(corpus, texts) -> None:
    """For texts of few symbols, which repeat themselves and each other a lot."""
    index = TextIndex(corpus)

    assert [index.longest(text) for text in texts] == [
        longest_by_search(text, corpus) for text in texts
    ]


@given(FEW, st.text(max_size=10), st.data())
def test_a_copied_piece_is_found_wherever_it_stands(corpus, around, data) -> None:
    """Pieces of the corpus between other characters count in full."""
    start = data.draw(st.integers(0, len(corpus)))
    piece = corpus[start : data.draw(st.integers(start, len(corpus)))]

    assert TextIndex(corpus).longest(around + piece + around) >= len(piece)
    assert TextIndex(corpus).longest(corpus) == len(corpus)


@given(FEW)
def test_suffixes_are_in_order(text) -> None:
    """The order is that of the suffixes as strings."""
    codes = code_points(text)
    symbols = np.unique(codes)
    order = suffix_order(numbered(codes, symbols), len(symbols))

    assert order.tolist() == sorted(range(len(text)), key=lambda start: text[start:])


def test_what_is_not_known_is_equal_to_nothing() -> None:
    """U+FFFD, on whichever side, breaks an overlap."""
    index = TextIndex("the \ufffd lamp")

    assert index.longest("the \ufffd lamp") == len(" lamp")
    assert index.longest("\ufffd") == 0
    assert index.longest("the \ud800 lamp") == len(" lamp")


@pytest.mark.parametrize(
    "corpus",
    ["a" * 60_000, "abcdefghij" * 6_000, "a" * 30_000 + "b" * 30_000],
    ids=["one", "ten", "two"],
)
def test_repetitions_cost_no_more_than_their_length(corpus) -> None:
    """What a search that compares from the start at every place would need minutes for."""
    begin = time.perf_counter()
    index = TextIndex(corpus)

    assert index.longest("x" + corpus + "x") == len(corpus)
    assert index.longest(corpus[: len(corpus) // 3] * 2) >= len(corpus) // 3
    assert time.perf_counter() - begin < 10
