"""Find the longest substring of a text that occurs in another text, by suffix array.

The other text, such as a corpus, is indexed once: its suffixes are sorted by prefix doubling. Each
suffix of a query is then placed among them, from the last to the first, each place following from
the previous one (Ferragina and Manzini, "Opportunistic data structures with applications", 2000).
The prefix that it shares with a neighbour there is at most one character shorter than that of the
suffix before it (Kasai et al., "Linear-time longest-common-prefix computation in suffix arrays",
2001).
"""

from array import array
from bisect import bisect_left
from itertools import pairwise

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.escape import REPLACEMENT
from charnn.tokenizers.char import code_points

KEY_BITS = 63  # of an int64 that is not negative
NO_BLOCK = (0, 0)  # of a symbol that does not occur in the indexed text


class TextIndex:
    """An index of a text of n characters for finding substrings; takes about 10 n bytes.

    The rank of a suffix is its place in the order of all n + 1 suffixes, the empty one first.
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
        self.suffixes = to_array(np.append(len(text), order))
        self.ranks_behind = to_array(ranks[order + 1])  # of a suffix without its first symbol
        # Start and end of the suffixes that begin with a symbol; `ranks_behind` increases there.
        self.blocks = dict(zip(map(chr, symbols.tolist()), pairwise([0, *ends]), strict=True))

    def longest(self, text: str) -> int:
        """Return the length of the longest substring of `text` that occurs in the indexed text.

        U+FFFD stands for unknown characters, so it equals nothing, itself included.
        """
        text = text.replace(REPLACEMENT, "\ud800")  # a lone surrogate, which occurs in no text
        places = self._places(text)
        below = self._longest(text, [place - 1 for place in places])
        return max(below, self._longest(text, places))

    def _places(self, text: str) -> list[int]:
        """Return the number of suffixes smaller than text[i:], for each i.

        The end of `text`, or a symbol that does not occur, counts as smaller than all symbols.
        """
        places, place = [], 0
        for symbol in reversed(text):
            start, end = self.blocks.get(symbol, NO_BLOCK)
            place = bisect_left(self.ranks_behind, place, start, end) + 1 if end else 0
            places.append(place)
        places.reverse()
        return places

    def _longest(self, text: str, neighbours: list[int]) -> int:
        """Return the longest prefix that any text[i:] shares with the suffix at neighbours[i]."""
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


def numbered(codes: Ids, symbols: Integers) -> Integers:
    """Return each code as its place among the symbols, (N,), from 1."""
    numbers = np.zeros(int(symbols[-1]) + 1 if len(symbols) else 0, np.int64)
    numbers[symbols] = np.arange(1, len(symbols) + 1)
    return numbers[codes]


def to_array(values: Integers) -> "array[int]":
    """Return the values as an array that Python indexes fast, in four bytes each if they fit."""
    kind = "i" if len(values) < 1 << 31 else "q"
    return array(kind, values.astype(kind).tobytes())


def suffix_order(codes: Integers, highest: int) -> Integers:
    """Return the starts of the suffixes of `codes`, (N,) from 1 to `highest`, in sorted order.

    Prefix doubling: the suffixes are sorted by their first symbols, and those that are still equal
    are sorted again by twice as many. Manber and Myers, "Suffix arrays: a new method for on-line
    string searches", 1990; Larsson and Sadakane, "Faster suffix sorting", 2007.
    """
    order, ranks, tied, seen = initial_order(codes, highest)
    while len(tied):
        tied = refine(order, ranks, tied, seen)
        seen *= 2
    return order


def initial_order(codes: Integers, highest: int) -> tuple[Integers, Integers, Integers, int]:
    """Sort the suffixes by as many symbols as fit into a key.

    Returns their starts in that order, (N,); the rank of each suffix by its start, (N + 1,), with
    -1 for the empty suffix; the places in the order that are tied; and the symbols in a key.
    """
    keys, seen = packed(codes, highest)
    order = np.argsort(keys)
    ranks = np.full(len(codes) + 1, -1)
    tied = rank(order, ranks, np.arange(len(codes)), keys[order])
    return order, ranks, tied, seen


def refine(order: Integers, ranks: Integers, tied: Integers, seen: int) -> Integers:
    """Sort tied suffixes by their first 2 · `seen` symbols; return the places that are still tied.

    `order` and `ranks` are those of the first `seen` symbols, and are updated in place. The next
    `seen` symbols of a suffix have a rank already: that of the suffix which begins with them.
    """
    suffixes = order[tied]
    assert (np.diff(ranks[suffixes]) >= 0).all(), "the suffixes are sorted by their ranks"
    count = len(order)
    behind = ranks[np.minimum(suffixes + seen, count)]
    keys = ranks[suffixes] * (count + 1) + behind + 1
    sorting = np.argsort(keys)
    order[tied] = suffixes[sorting]
    return rank(order, ranks, tied, keys[sorting])


def rank(order: Integers, ranks: Integers, places: Integers, keys: Integers) -> Integers:
    """Set the ranks of the suffixes at some places of the order; return the places that are tied.

    `keys` are theirs, in ascending order. Suffixes of equal keys are tied: their rank is the place
    of the first of them.
    """
    is_first = np.diff(keys, prepend=-1) != 0  # keys are not negative
    ranks[order[places]] = places[is_first][np.cumsum(is_first) - 1]
    is_alone = is_first & np.append(is_first[1:], True)
    tied: Integers = places[~is_alone]
    return tied


def packed(codes: Integers, highest: int) -> tuple[Integers, int]:
    """Return a key for each suffix, made of its first symbols, and the number of those symbols."""
    bits = max(highest, 1).bit_length()
    count = KEY_BITS // bits
    padded = np.append(codes, np.zeros(count, np.int64))  # the end is smaller than every symbol
    keys = np.zeros(len(codes), np.int64)
    for offset in range(count):
        keys = keys << bits | padded[offset : offset + len(codes)]
    return keys, count
