"""Find the longest substring of a text that occurs in another, by suffix array.

The other text, such as a corpus, is sorted once: all its suffixes, by prefix doubling. A text is
then placed among them from its last character to its first, each place following from the one
before (Ferragina and Manzini, "Opportunistic data structures with applications", 2000); what it
shares with its two neighbours there shrinks by one character at most from each place to the next
(Kasai et al., "Linear-time longest-common-prefix computation in suffix arrays", 2001).
"""

from array import array
from bisect import bisect_left
from itertools import pairwise

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.escape import REPLACEMENT
from charnn.tokenizers.char import code_points

UNEQUAL = "\ud800"  # occurs in no text
KEY_BITS = 63


class TextIndex:
    """A text of n characters in which others are looked up; takes about 10 n bytes.

    A rank is a place in the order of its n + 1 suffixes, of which the empty one is the first.
    """

    def __init__(self, text: str) -> None:
        codes = code_points(text)
        counts = np.bincount(codes)
        symbols = np.flatnonzero(counts)
        ends = np.cumsum(counts[symbols]).tolist()
        order = suffix_order(numbered(codes, symbols), len(symbols))
        ranks = np.zeros(len(text) + 1, np.int64)
        ranks[order] = np.arange(1, len(text) + 1)
        self.text = text
        self.suffixes = compact(np.append(len(text), order))
        self.ranks_behind = compact(ranks[order + 1])  # of a suffix without its first symbol
        # Where in `ranks_behind` the suffixes stand that begin with a symbol; there it increases.
        self.blocks = dict(zip(map(chr, symbols.tolist()), pairwise([0, *ends]), strict=True))

    def longest(self, text: str) -> int:
        """Characters of the longest piece of `text` that occurs in the indexed text.

        U+FFFD occurs nowhere.
        """
        text = text.replace(REPLACEMENT, UNEQUAL)  # what could not be decoded is equal to nothing
        places = self._places(text)
        below = self._longest(text, [place - 1 for place in places])
        return max(below, self._longest(text, places))

    def _places(self, text: str) -> list[int]:
        """How many suffixes are smaller than text[i:], for each i.

        The end of `text`, or a symbol that does not occur, counts as smaller than all.
        """
        places, place = [], 0
        for symbol in reversed(text):
            start, end = self.blocks.get(symbol, NOWHERE)
            place = bisect_left(self.ranks_behind, place, start, end) + 1 if end else 0
            places.append(place)
        places.reverse()
        return places

    def _longest(self, text: str, neighbours: list[int]) -> int:
        """The most characters that any text[i:] shares with the suffix of rank neighbours[i]."""
        indexed, suffixes = self.text, self.suffixes
        best = shared = 0
        for start, rank in enumerate(neighbours):
            shared = max(shared - 1, 0)
            if 0 < rank < len(suffixes):
                suffix = suffixes[rank]
                most = min(len(text) - start, len(indexed) - suffix)
                while shared < most and text[start + shared] == indexed[suffix + shared]:
                    shared += 1
                best = max(best, shared)
        return best


NOWHERE = (0, 0)


def numbered(codes: Ids, symbols: Integers) -> Integers:
    """Each code as its place among the symbols, (N,), from 1."""
    numbers = np.zeros(int(symbols[-1]) + 1 if len(symbols) else 0, np.int64)
    numbers[symbols] = np.arange(1, len(symbols) + 1)
    return numbers[codes]


def compact(values: Integers) -> "array[int]":
    """The values as an array that Python reads quickly, of four bytes each where they fit."""
    kind = "i" if len(values) < 1 << 31 else "q"
    return array(kind, values.astype(kind).tobytes())


def suffix_order(codes: Integers, highest: int) -> Integers:
    """Where the suffixes of `codes`, (N,) from 1 to `highest`, start, in the order of the suffixes.

    The first sort is by as many symbols as fit into a key; each further one doubles how many are
    looked at, and sorts only what is still equal. Manber and Myers, 1990; Larsson and Sadakane,
    "Faster suffix sorting", 2007.
    """
    keys, seen = packed(codes, highest)
    order = np.argsort(keys)
    places, keys = np.arange(len(codes)), keys[order]
    ranks = np.full(len(codes) + 1, -1)  # the last is that of the empty suffix
    while len(places):
        # Equal keys share a rank, the place of the first of them; one that is alone is settled.
        begins = np.diff(keys, prepend=keys[0] - 1) != 0
        ranks[order[places]] = places[begins][np.cumsum(begins) - 1]
        places = places[~(begins & np.append(begins[1:], True))]
        suffixes = order[places]
        behind = ranks[np.minimum(suffixes + seen, len(codes))]
        keys = ranks[suffixes] * (len(codes) + 1) + behind + 1
        sorting = np.argsort(keys)
        order[places], keys = suffixes[sorting], keys[sorting]
        seen *= 2
    return order


def packed(codes: Integers, highest: int) -> tuple[Integers, int]:
    """A key for each suffix made of its first symbols, and how many there are in a key."""
    bits = max(highest, 1).bit_length()
    count = KEY_BITS // bits
    padded = np.append(codes, np.zeros(count, np.int64))  # the end is smaller than every symbol
    keys = np.zeros(len(codes), np.int64)
    for offset in range(count):
        keys = keys << bits | padded[offset : offset + len(codes)]
    return keys, count
