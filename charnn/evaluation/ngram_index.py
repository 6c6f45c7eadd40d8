"""Find out whether a text copies N consecutive characters of an indexed text."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from charnn.arrays import Integers
from charnn.escape import REPLACEMENT
from charnn.tokenizers.char import code_points

# A Bloom filter of 12 bits per n-gram and 6 hashes reports 0.4 % of the n-grams that do not occur.
BITS = 12
HASHES = 6
SLICE = 1 << 16  # n-grams hashed at once; their temporary arrays take 4 MB
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd; 2^64 divided by the golden ratio

Hashes = npt.NDArray[np.uint64]


class NgramIndex:
    """An index of the n-grams of a text, n consecutive characters each.

    A Bloom filter finds candidates, and a search in the text confirms them. The filter takes 1.5
    bytes per character. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970.
    """

    def __init__(self, text: str, n: int) -> None:
        self.text, self.n = text, n
        self.filter = np.zeros(len(text) * BITS // 8 + 1, np.uint8)
        for _, hashes in self._hashes(text):
            for places in self._places(hashes):
                bits = places & 7
                for bit in range(8):  # equal indices in one assignment then set the same bit
                    self.filter[places[bits == bit] >> 3] |= 1 << bit

    def is_copied(self, text: str) -> bool:
        """Return whether `text` contains an n-gram of the indexed text.

        U+FFFD represents unknown characters and therefore never matches, not even itself.
        """
        return any(map(self._is_copied, text.split(REPLACEMENT)))

    def _is_copied(self, text: str) -> bool:
        for start, hashes in self._hashes(text):
            is_found = np.ones(len(hashes), bool)
            for places in self._places(hashes):
                is_found &= (self.filter[places >> 3] >> (places & 7) & 1).astype(bool)
            candidates = (np.flatnonzero(is_found) + start).tolist()
            if any(text[first : first + self.n] in self.text for first in candidates):
                return True
        return False

    def _hashes(self, text: str) -> Iterator[tuple[int, Hashes]]:
        """Yield the hashes of the n-grams of a text in slices, with the start of each slice."""
        step = max(SLICE, self.n)
        for start in range(0, len(text) - self.n + 1, step):
            yield start, ngram_hashes(text[start : start + step + self.n - 1], self.n)

    def _places(self, hashes: Hashes) -> Iterator[Integers]:
        """Yield HASHES bits of the filter for each n-gram.

        Kirsch and Mitzenmacher, "Less hashing, same performance", 2006.
        """
        step = hashes >> np.uint64(32) | np.uint64(1)
        for _ in range(HASHES):
            yield (hashes % np.uint64(8 * len(self.filter))).astype(np.int64)
            hashes = hashes + step


def ngram_hashes(text: str, n: int) -> Hashes:
    """Return a hash of text[i : i + n] for each i, (N - n + 1,).

    The hash of an n-gram is computed from those of its first and its last half, or of more than
    half: all n-grams of the same length at once.
    """
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
