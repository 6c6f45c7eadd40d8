"""Find the longest substring of a text that occurs in an indexed text, with a suffix array.

The index of a text, such as a corpus, is built once. The rank of each suffix of a query among its
suffixes is computed from the last suffix to the first, each from the rank of the one after it
(Ferragina and Manzini, "Opportunistic data structures with applications", 2000). The prefix that a
query suffix shares with its neighbor is at most one character shorter than that of the query suffix
before it (Kasai et al., "Linear-time longest-common-prefix computation in suffix arrays", 2001).
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.escape import REPLACEMENT
from charnn.tokenizers.char import code_points
from charnn.tokenizers.tokenizer import smallest_dtype

PIECE = 1 << 16  # suffixes sorted at once; their temporary arrays take about 5 MB
BUCKET_BITS = 16
KEY_BITS = 63  # bits of a non-negative int64

Keys = Callable[[Integers], Integers]  # a sort key for each of some suffixes


class TextIndex:
    """An index of a text for finding substrings.

    A character takes 9 bytes, and 10 while the index is built; with more than 255 different
    characters 1 byte more. The rank of a suffix is its position in the sorted order of all n + 1
    suffixes, of which the empty one is the first.
    """

    def __init__(self, parts: Iterable[str]) -> None:
        codes, symbols, counts = numbered(list(parts))
        size = len(codes) - KEY_BITS
        self.suffixes, order = integers(size + 1)
        order[0] = size
        SuffixSorter(codes, len(symbols), order[1:]).sort()
        # Range of the suffixes that begin with each symbol; `tail_ranks` increases within it.
        self.ends = [0, *np.cumsum(counts).tolist()]
        # The rank of each suffix, but the empty one, without its first symbol.
        self.tail_ranks, tail_ranks = integers(size)
        counting_sort(preceding(codes, order), np.array([0, *self.ends[:-1]]), tail_ranks)
        self.codes = array(codes.dtype.char)
        self.codes.frombytes(codes.data.cast("B"))
        self.numbers = {symbol: number for number, symbol in enumerate(symbols, 1)}
        self.numbers.pop(REPLACEMENT, None)

    def longest(self, text: str) -> int:
        """Return the length of the longest substring of `text` that occurs in the indexed text.

        U+FFFD represents unknown characters and therefore never matches, not even itself.
        """
        codes = [self.numbers.get(symbol, 0) for symbol in text]
        ranks = self._ranks(codes)
        previous = self._longest(codes, [rank - 1 for rank in ranks])
        return max(previous, self._longest(codes, ranks))

    def _ranks(self, codes: list[int]) -> list[int]:
        """Return the number of indexed suffixes smaller than codes[i:], for each i.

        The end of the query, or 0, is smaller than all symbols.
        """
        ends, ranks, rank = self.ends, [], 0
        for code in reversed(codes):
            rank = bisect_left(self.tail_ranks, rank, ends[code - 1], ends[code]) + 1 if code else 0
            ranks.append(rank)
        ranks.reverse()
        return ranks

    def _longest(self, codes: list[int], neighbors: list[int]) -> int:
        """Return the length of the longest common prefix of any codes[i:] and its neighbor.

        `neighbors` are the ranks of the indexed suffixes to compare with.
        """
        indexed, suffixes = self.codes, self.suffixes
        best = shared = 0
        for start, rank in enumerate(neighbors):
            shared = max(shared - 1, 0)
            if 0 < rank < len(suffixes):
                suffix, most = suffixes[rank], len(codes) - start
                # The indexed text ends in zeros, which differ from all symbols.
                while shared < most and codes[start + shared] == indexed[suffix + shared] != 0:
                    shared += 1
                best = max(best, shared)
        return best


def numbered(parts: list[str]) -> tuple[Ids, list[str], Integers]:
    """Return the characters of a text as numbers from 1, in the order of their code points.

    They are followed by KEY_BITS zeros, (N + KEY_BITS,). Also return the V symbols, and the number
    of occurrences of each, (V,).
    """
    symbols = sorted(set[str]().union(*parts))
    numbers = np.zeros(max(map(ord, symbols), default=0) + 1, smallest_dtype(len(symbols) + 1))
    numbers[[*map(ord, symbols)]] = np.arange(1, len(symbols) + 1)
    codes: Ids = np.zeros(sum(map(len, parts)) + KEY_BITS, smallest_dtype(len(symbols) + 1))
    counts = np.zeros(len(symbols) + 1, np.int64)
    start = 0
    for part in parts:
        part_codes = numbers[code_points(part)]
        codes[start : start + len(part)] = part_codes
        counts += np.bincount(part_codes, minlength=len(counts))
        start += len(part)
    return codes, symbols, counts[1:]


def integers(count: int) -> tuple["array[int]", Integers]:
    """Return zeros, with four bytes each if they suffice, and a NumPy array of the same memory.

    Python indexes the former ten times as fast.
    """
    zeros = array("i" if count + KEY_BITS < 1 << 31 else "q", [0]) * count
    return zeros, np.frombuffer(zeros, zeros.typecode)


def preceding(codes: Ids, order: Integers) -> Iterator[tuple[Ids, Ids]]:
    """Yield the symbols before some suffixes in their sorted order, and their ranks.

    The whole text, which no symbol precedes, is left out.
    """
    for start in range(0, len(order), PIECE):
        suffixes = order[start : start + PIECE]
        ranks = np.flatnonzero(suffixes)
        yield codes[suffixes[ranks] - 1], ranks + start


def counting_sort(pieces: Iterable[tuple[Ids, Ids]], starts: Integers, target: Integers) -> None:
    """Write values, given in pieces with the key of each, to `target` in the order of their keys.

    The values of a key keep their order. starts[key] is the position of the first of them; it is
    advanced to the end of the last.
    """
    for keys, values in pieces:
        sorting = np.argsort(keys, kind="stable")
        ordered = keys[sorting]
        offsets = np.arange(len(keys)) - np.searchsorted(ordered, ordered)  # among equal keys
        target[starts[ordered] + offsets] = values[sorting]
        starts += np.bincount(keys, minlength=len(starts))


class SuffixSorter:
    """Sort the suffixes of a text by prefix doubling, with little memory.

    The suffixes are sorted by as many symbols as fit into an integer, and then by twice as many
    until none are tied. Manber and Myers, "Suffix arrays: a new method for on-line string
    searches", 1990; Larsson and Sadakane, "Faster suffix sorting", 2007.

    `order`, (N,), holds the starts of the suffixes in sorted order. `ranks`, (N + 1,), is the
    position of each suffix in it; tied suffixes have that of the first of them, and the empty one
    has -1. `tied`, (N,), marks the positions of tied suffixes.
    """

    def __init__(self, codes: Ids, highest: int, order: Integers) -> None:
        self.codes, self.order, self.count = codes, order, len(order)
        self.bits = max(highest, 1).bit_length()
        self.seen = KEY_BITS // self.bits  # symbols by which the suffixes are sorted
        self.ranks = np.full(self.count + 1, -1, order.dtype)
        self.tied = np.ones(self.count, bool)

    def sort(self) -> None:
        """Write the sorted suffixes to `order`."""
        self._sort_into_buckets()
        self._refine(self._first_symbols)
        while self.tied.any():
            self._refine(self._two_ranks)
            self.seen *= 2

    def _first_symbols(self, suffixes: Integers) -> Integers:
        """Return a key of the first `seen` symbols of each suffix."""
        keys = np.zeros(len(suffixes), np.int64)
        for offset in range(self.seen):
            keys = keys << self.bits | self.codes[suffixes + offset]
        return keys

    def _two_ranks(self, suffixes: Integers) -> Integers:
        """Return a key of the first 2 · `seen` symbols: the ranks of both halves."""
        middles = np.minimum(suffixes.astype(np.int64) + self.seen, self.count)
        return self.ranks[suffixes].astype(np.int64) * (self.count + 1) + self.ranks[middles] + 1

    def _sort_into_buckets(self) -> None:
        """Sort the suffixes by the first BUCKET_BITS bits of their keys."""
        shift = max(0, self.seen * self.bits - BUCKET_BITS)

        def pieces() -> Iterator[tuple[Ids, Ids]]:
            for start in range(0, self.count, PIECE):
                suffixes = np.arange(start, min(start + PIECE, self.count))
                yield (self._first_symbols(suffixes) >> shift).astype(np.uint16), suffixes

        sizes = sum(
            (np.bincount(keys, minlength=1 << BUCKET_BITS) for keys, _ in pieces()),
            np.zeros(1 << BUCKET_BITS, np.int64),
        )
        starts = np.cumsum(sizes) - sizes
        for keys, suffixes in pieces():
            self.ranks[suffixes] = starts[keys]
        counting_sort(pieces(), starts, self.order)

    def _refine(self, keys_of: Keys) -> None:
        """Sort tied suffixes by their keys.

        The keys of suffixes with different ranks must be in the order of the ranks.
        """
        start = 0
        while start < self.count:
            end = self._end_of_piece(start)
            if end - start > PIECE:
                self._sort_group(start, end, keys_of)
            else:
                self._sort(np.flatnonzero(self.tied[start:end]) + start, keys_of)
            start = end

    def _end_of_piece(self, start: int) -> int:
        """Return the end of the groups of tied suffixes that fit into a piece, or of one group."""
        end = start + PIECE
        if end >= self.count:
            return self.count
        group = int(self.ranks[self.order[end]])
        if group > start:
            return group
        high = self.count
        while end < high:  # bisection: ranks increase along the order
            middle = (end + high) // 2
            if self.ranks[self.order[middle]] > group:
                high = middle
            else:
                end = middle + 1
        return end

    def _sort(self, positions: Integers, keys_of: Keys) -> None:
        """Sort the suffixes at some positions by their keys, and update their ranks."""
        if not len(positions):
            return
        suffixes = self.order[positions]
        keys = keys_of(suffixes)
        sorting = np.argsort(keys)
        keys, suffixes = keys[sorting], suffixes[sorting]
        is_first = np.diff(keys, prepend=-1) != 0  # keys are not negative
        is_last = np.append(is_first[1:], True)
        self.order[positions] = suffixes
        self.ranks[suffixes] = positions[is_first][np.cumsum(is_first) - 1]
        self.tied[positions] = ~(is_first & is_last)

    def _sort_group(self, start: int, end: int, keys_of: Keys) -> None:
        """Sort a group of tied suffixes of any size by their keys: quicksort, piece by piece."""
        while end - start > PIECE:
            lowest, median, highest = self._range_of_keys(start, end, keys_of)
            if lowest == highest:
                self._tie(start, end)
                return
            pivot = max(median, lowest + 1)
            middle = self._partition(start, end, pivot, keys_of)
            if pivot == lowest + 1:
                self._tie(start, middle)
            else:
                self._sort_group(start, middle, keys_of)
            start = middle
        self._sort(np.arange(start, end), keys_of)

    def _range_of_keys(self, start: int, end: int, keys_of: Keys) -> tuple[int, int, int]:
        """Return the lowest key, the median of a sample of the keys, and the highest key."""
        sample = np.sort(keys_of(self.order[start : end : (end - start) // PIECE]))
        lowest, highest = int(sample[0]), int(sample[-1])
        for begin in range(start, end, PIECE):
            keys = keys_of(self.order[begin : min(begin + PIECE, end)])
            lowest, highest = min(lowest, int(keys.min())), max(highest, int(keys.max()))
        return lowest, int(sample[len(sample) // 2]), highest

    def _tie(self, start: int, end: int) -> None:
        """Give the same rank to suffixes with the same key."""
        for begin in range(start, end, PIECE):
            self.ranks[self.order[begin : min(begin + PIECE, end)]] = start

    def _partition(self, start: int, end: int, pivot: int, keys_of: Keys) -> int:
        """Move the suffixes with keys below the pivot to the front; return the end of these."""
        held: list[Integers] = []
        low, high, left, right = start, end, start, end  # to write, and to read, from both sides
        while True:
            # With three pieces held, one read from the side with less space, one fits on each side.
            while left < right and len(held) < 3:  # noqa: PLR2004
                if left - low <= high - right:
                    held.append(self.order[left : min(left + PIECE, right)].copy())
                    left += len(held[-1])
                else:
                    held.append(self.order[max(right - PIECE, left) : right].copy())
                    right -= len(held[-1])
            if not held:
                return low
            suffixes = held.pop()
            is_below = keys_of(suffixes) < pivot
            below, others = suffixes[is_below], suffixes[~is_below]
            self.order[low : low + len(below)] = below
            self.order[high - len(others) : high] = others
            low, high = low + len(below), high - len(others)
