"""Find the longest substring of a text that occurs in an indexed text, with a suffix array.

The index of a text, such as a corpus, is built once by sorting its suffixes with prefix doubling.
The rank of each suffix of a query among them is computed from the last suffix to the first, each
from the rank of the one after it (Ferragina and Manzini, "Opportunistic data structures with
applications", 2000). The prefix that a query suffix shares with its neighbor is at most one
character shorter than that of the query suffix before it (Kasai et al., "Linear-time
longest-common-prefix computation in suffix arrays", 2001).
"""

from array import array
from bisect import bisect_left
from itertools import pairwise

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.escape import REPLACEMENT
from charnn.tokenizers.char import code_points

KEY_BITS = 63  # bits of a non-negative int64
NO_BLOCK = (0, 0)  # for symbols that do not occur in the indexed text


class TextIndex:
    """An index of a text of n characters for finding substrings; uses about 10 n bytes.

    The rank of a suffix is its position in the sorted order of all n + 1 suffixes, of which the
    empty one is the first.
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
        self.tail_ranks = to_array(ranks[order + 1])  # of a suffix without its first symbol
        # Range of the suffixes that begin with each symbol; `tail_ranks` increases within it.
        self.blocks = dict(zip(map(chr, symbols.tolist()), pairwise([0, *ends]), strict=True))

    def longest(self, text: str) -> int:
        """Return the length of the longest substring of `text` that occurs in the indexed text.

        U+FFFD represents unknown characters and therefore never matches, not even itself.
        """
        text = text.replace(REPLACEMENT, "\ud800")  # a lone surrogate, which occurs in no text
        ranks = self._ranks(text)
        previous = self._longest(text, [rank - 1 for rank in ranks])
        return max(previous, self._longest(text, ranks))

    def _ranks(self, text: str) -> list[int]:
        """Return the number of indexed suffixes smaller than text[i:], for each i.

        The end of `text`, or a symbol that does not occur, is smaller than all symbols.
        """
        ranks, rank = [], 0
        for symbol in reversed(text):
            start, end = self.blocks.get(symbol, NO_BLOCK)
            rank = bisect_left(self.tail_ranks, rank, start, end) + 1 if end else 0
            ranks.append(rank)
        ranks.reverse()
        return ranks

    def _longest(self, text: str, neighbors: list[int]) -> int:
        """Return the length of the longest common prefix of any text[i:] and its neighbor.

        `neighbors` are the ranks of the indexed suffixes to compare with.
        """
        indexed, suffixes = self.text, self.suffixes
        best = shared = 0
        for start, rank in enumerate(neighbors):
            shared = max(shared - 1, 0)
            if 0 < rank < len(suffixes):
                suffix = suffixes[rank]
                most = min(len(text) - start, len(indexed) - suffix)
                while shared < most and text[start + shared] == indexed[suffix + shared]:
                    shared += 1
                best = max(best, shared)
        return best


def numbered(codes: Ids, symbols: Integers) -> Integers:
    """Return the index of each code in the sorted symbols, (N,), counted from 1."""
    numbers = np.zeros(int(symbols[-1]) + 1 if len(symbols) else 0, np.int64)
    numbers[symbols] = np.arange(1, len(symbols) + 1)
    return numbers[codes]


def to_array(values: Integers) -> "array[int]":
    """Return an array that Python indexes fast, with four bytes per value if they fit."""
    kind = "i" if len(values) < 1 << 31 else "q"
    return array(kind, values.astype(kind).tobytes())


def suffix_order(codes: Integers, highest: int) -> Integers:
    """Return the suffix array of `codes`, (N,) from 1 to `highest`: the starts in sorted order.

    Prefix doubling: the suffixes are sorted by their first symbols, and ties are sorted again by
    twice as many symbols. Manber and Myers, "Suffix arrays: a new method for on-line string
    searches", 1990; Larsson and Sadakane, "Faster suffix sorting", 2007.
    """
    order, ranks, tied, seen = initial_order(codes, highest)
    while len(tied):
        tied = refine(order, ranks, tied, seen)
        seen *= 2
    return order


def initial_order(codes: Integers, highest: int) -> tuple[Integers, Integers, Integers, int]:
    """Sort the suffixes by as many symbols as fit into a key.

    Return the starts in sorted order, (N,); the rank of each suffix by its start, (N + 1,), -1 for
    the empty suffix; the positions in the order that are tied; and the number of symbols per key.
    """
    keys, seen = packed(codes, highest)
    order = np.argsort(keys)
    ranks = np.full(len(codes) + 1, -1)
    tied = rank(order, ranks, np.arange(len(codes)), keys[order])
    return order, ranks, tied, seen


def refine(order: Integers, ranks: Integers, tied: Integers, seen: int) -> Integers:
    """Sort tied suffixes by their first 2 · `seen` symbols; return the positions still tied.

    `order` and `ranks` are those for the first `seen` symbols, and are updated in place. The next
    `seen` symbols of a suffix already have a rank: that of the suffix which begins with them.
    """
    suffixes = order[tied]
    assert (np.diff(ranks[suffixes]) >= 0).all(), "suffixes must be sorted by their ranks"
    count = len(order)
    behind = ranks[np.minimum(suffixes + seen, count)]
    keys = ranks[suffixes] * (count + 1) + behind + 1
    sorting = np.argsort(keys)
    order[tied] = suffixes[sorting]
    return rank(order, ranks, tied, keys[sorting])


def rank(order: Integers, ranks: Integers, positions: Integers, keys: Integers) -> Integers:
    """Set the ranks of the suffixes at these positions of the order; return the tied positions.

    `keys` are those of the suffixes, in ascending order. Suffixes with equal keys are tied: their
    rank is the position of the first of them.
    """
    is_first = np.diff(keys, prepend=-1) != 0  # keys are not negative
    ranks[order[positions]] = positions[is_first][np.cumsum(is_first) - 1]
    is_unique = is_first & np.append(is_first[1:], True)
    tied: Integers = positions[~is_unique]
    return tied


def packed(codes: Integers, highest: int) -> tuple[Integers, int]:
    """Return a key of the first symbols of each suffix, and the number of symbols per key."""
    bits = max(highest, 1).bit_length()
    count = KEY_BITS // bits
    padded = np.append(codes, np.zeros(count, np.int64))  # the end is smaller than every symbol
    keys = np.zeros(len(codes), np.int64)
    for offset in range(count):
        keys = keys << bits | padded[offset : offset + len(codes)]
    return keys, count
