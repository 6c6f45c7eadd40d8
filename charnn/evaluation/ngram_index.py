"""Find out whether a text copies N consecutive characters of an indexed text."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from charnn.arrays import Integers
from charnn.escape import REPLACEMENT
from charnn.tokenizers.char import code_points

# A Bloom filter of 12 bits per n-gram and 6 hashes reports 0.4 % of the n-grams that do not occur.
BITS = 12
HASHES = 6
LENGTH = 1 << 15  # characters hashed at once; their temporary arrays take 2 MB
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd; 2^64 divided by the golden ratio

Hashes = npt.NDArray[np.uint64]


class NgramIndex:
    """An index of the n-grams of a text, n consecutive characters each.

    A Bloom filter finds candidates, and a search in the text confirms them. The filter takes 1.5
    bytes per character. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970.
    """

    def __init__(self, parts: Iterable[str], n: int) -> None:
        self.n = n
        self.texts = list(overlapping(parts, n))
        self.filter = np.zeros(sum(map(len, self.texts)) * BITS // 8 + 1, np.uint8)
        for text in self.texts:
            self._add(text)

    def is_copied(self, text: str) -> bool:
        """Return whether `text` contains an n-gram of the indexed text.

        U+FFFD represents unknown characters and therefore never matches, not even itself.
        """
        return any(map(self._is_copied, text.split(REPLACEMENT)))

    def _is_copied(self, text: str) -> bool:
        is_candidate = np.ones(max(0, len(text) - self.n + 1), bool)
        for places in self._places(text):
            is_candidate &= (self.filter[places >> 3] >> (places & 7) & 1).astype(bool)
        ngrams = (text[start : start + self.n] for start in np.flatnonzero(is_candidate).tolist())
        return any(ngram in part for ngram in ngrams for part in self.texts)

    def _add(self, text: str) -> None:
        """Add the n-grams of a text to the filter."""
        for places in self._places(text):
            bits = places & 7
            for bit in range(8):  # equal indices in one assignment then set the same bit
                self.filter[places[bits == bit] >> 3] |= 1 << bit

    def _places(self, text: str) -> Iterator[Integers]:
        """Yield the positions of HASHES bits of the filter, for each n-gram of a text.

        Kirsch and Mitzenmacher, "Less hashing, same performance", 2006.
        """
        hashes = ngram_hashes(text, self.n)
        step = hashes >> np.uint64(32) | np.uint64(1)
        for _ in range(HASHES):
            yield (hashes % np.uint64(8 * len(self.filter))).astype(np.int64)
            hashes = hashes + step


def overlapping(parts: Iterable[str], n: int) -> Iterator[str]:
    """Yield a text in longer parts, each of which begins with the last n - 1 characters before it.

    Each n-gram is then in one of the parts.
    """
    held = ""
    for part in parts:
        held += part
        if len(held) > max(LENGTH, 20 * n):
            yield held
            held = held[len(held) - n + 1 :]
    yield held


def ngram_hashes(text: str, n: int) -> Hashes:
    """Return a hash of text[i : i + n] for each i, (max(0, N - n + 1),).

    The hash of an n-gram is computed from those of its first and its last half, or of more than
    half: all n-grams of the same length at once.
    """
    if len(text) < n:
        return np.empty(0, np.uint64)
    hashes = code_points(text).astype(np.uint64) * MULTIPLIER
    length = 1
    while length < n:
        offset = min(length, n - length)
        hashes = mixed(hashes[:-offset], hashes[offset:])
        length += offset
    return hashes


def mixed(first: Hashes, second: Hashes) -> Hashes:
    """Return a hash of each pair of hashes."""
    hashes: Hashes = (first ^ first >> np.uint64(32)) * MULTIPLIER + second
    hashes ^= hashes >> np.uint64(29)
    return hashes
