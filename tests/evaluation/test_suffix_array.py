"""The longest common substring of two texts, compared with brute force, and its running time."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.evaluation import suffix_array
from charnn.evaluation.suffix_array import SuffixSorter, TextIndex, numbered

FEW = st.text(alphabet="ab", max_size=80) | st.text(alphabet="abcé\n河😀", max_size=80)


def longest_by_search(text, corpus):
    """Return the length of the longest common substring, by trying all substrings."""
    pieces = (text[i:j] for i in range(len(text)) for j in range(i, len(text) + 1))
    return max((len(piece) for piece in pieces if piece in corpus), default=0)


@given(FEW, st.lists(FEW, max_size=4))
def test_longest_agrees_with_brute_force(corpus, texts) -> None:
    """The texts have few symbols, so that they contain many repetitions."""
    index = TextIndex([corpus])

    assert [index.longest(text) for text in texts] == [
        longest_by_search(text, corpus) for text in texts
    ]


@given(FEW, st.text(max_size=10), st.data())
def test_copied_substring_is_found_at_any_position(corpus, around, data) -> None:
    """The result is at least as long as a substring of the corpus inside other text."""
    start = data.draw(st.integers(0, len(corpus)))
    piece = corpus[start : data.draw(st.integers(start, len(corpus)))]

    assert TextIndex([corpus]).longest(around + piece + around) >= len(piece)
    assert TextIndex([corpus]).longest(corpus) == len(corpus)


@given(FEW, st.integers(1, 40))
def test_suffixes_are_sorted(text, piece) -> None:
    """The order equals that of Python's string comparison, for pieces of any size."""
    codes, symbols, _ = numbered([text])
    order = np.zeros(len(text), np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suffix_array, "PIECE", piece)
        SuffixSorter(codes, len(symbols), order).sort()

    assert order.tolist() == sorted(range(len(text)), key=lambda start: text[start:])


def test_replacement_character_never_matches() -> None:
    """U+FFFD in either text ends a common substring."""
    index = TextIndex(["the \ufffd lamp"])

    assert index.longest("the \ufffd lamp") == len(" lamp")
    assert index.longest("\ufffd") == 0
    assert index.longest("the \ud800 lamp") == len(" lamp")


def test_memory_is_ten_bytes_per_character() -> None:
    """While the index is built, from a text in parts."""
    random = np.random.default_rng(1)
    parts = ["".join(map(chr, random.integers(97, 107, 50_000))) for _ in range(10)]
    tracemalloc.start()
    index = TextIndex(parts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert index.longest(parts[3][-20:] + parts[4][:20]) == 40
    assert peak < 10 * 500_000 + 6_500_000


@pytest.mark.parametrize(
    "corpus",
    ["a" * 60_000, "abcdefghij" * 6_000, "a" * 30_000 + "b" * 30_000],
    ids=["one", "ten", "two"],
)
def test_running_time_on_repetitive_text_is_bounded(corpus) -> None:
    """A search that compares each suffix from its start would take minutes."""
    begin = time.perf_counter()
    index = TextIndex([corpus])

    assert index.longest("x" + corpus + "x") == len(corpus)
    assert index.longest(corpus[: len(corpus) // 3] * 2) >= len(corpus) // 3
    assert time.perf_counter() - begin < 10
