"""Copied n-grams, compared with brute force, and the memory of the index."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.evaluation import ngram_index
from charnn.evaluation.ngram_index import NgramIndex, ngram_hashes

FEW = st.text(alphabet="ab", max_size=60) | st.text(alphabet="abcé\n河😀\ufffd", max_size=60)


def copies(text, corpus, n):
    """Return whether an n-gram of a text without U+FFFD occurs in a corpus, by trying all."""
    grams = (text[start : start + n] for start in range(len(text) - n + 1))
    return any(gram in corpus for gram in grams if "\ufffd" not in gram)


@given(FEW, st.lists(FEW, max_size=4), st.integers(1, 12), st.integers(1, 12), st.integers(1, 8))
def test_copies_agree_with_brute_force(corpus, texts, n, size, bits) -> None:
    """For parts of any size, and for filters with many false candidates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngram_index, "LENGTH", size)
        patch.setattr(ngram_index, "BITS", bits)
        parts = (corpus[start : start + size] for start in range(0, len(corpus), size))
        index = NgramIndex(parts, n)

        assert [index.is_copied(text) for text in texts] == [
            copies(text, corpus, n) for text in texts
        ]


@given(FEW, st.integers(1, 20))
def test_hashes_are_those_of_the_ngrams(text, n) -> None:
    """Equal n-grams have equal hashes, at any position, and others have other hashes."""
    grams = [text[start : start + n] for start in range(len(text) - n + 1)]
    hashes = ngram_hashes(text, n).tolist()

    assert hashes == [int(ngram_hashes(gram, n)[0]) for gram in grams]
    assert len(set(hashes)) == len(set(grams))


def test_few_ngrams_that_do_not_occur_are_candidates() -> None:
    """A search in the text follows each of them."""
    random = np.random.default_rng(1)
    text, other = ("".join(map(chr, random.integers(97, 123, 200_000))) for _ in range(2))
    index = NgramIndex([text], 12)
    found = [index.filter[places >> 3] >> (places & 7) & 1 for places in index._places(other)]

    assert not index.is_copied(other)
    assert np.bitwise_and.reduce(found).mean() < 0.01


def test_memory_is_less_than_two_bytes_per_character_beyond_the_text() -> None:
    """While the index is built and afterwards."""
    part = "the lamp on the stair " * 1000
    tracemalloc.start()
    index = NgramIndex((part for _ in range(200)), 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert index.is_copied(part[7:27])
    assert peak < (1 + 1.5) * 200 * len(part) + (1 << 22)
