"""Predict out-of-vocabulary symbols: the probability of `<unk>`, and of the bytes of the symbol.

With it, a model has a probability for every text. p(`<unk>`) is a constant; the probabilities of
the tokens in the vocabulary are multiplied by 1 − p(`<unk>`). A symbol is spelled byte by byte by
an interpolated Kneser–Ney 5-gram model, which is trained on rare symbols of the training text.

Good, "The population frequencies of species and the estimation of population parameters", 1953;
Ney, Essen and Kneser, "On the estimation of 'small' probabilities by leaving-one-out", 1995; Chen
and Goodman, "An empirical study of smoothing techniques for language modeling", 1999.

Shapes: V vocab_size, S symbols, N bytes of all symbols.
"""

import heapq
import itertools
import math
from binascii import crc32
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from charnn.arrays import Doubles, Integers
from charnn.errors import DataError
from charnn.tokenizers.tokenizer import Tokenizer
from charnn.tokenizers.utf8 import to_utf8

ORDER = 5  # bytes of an n-gram
BEGIN, END = 0xFE, 0xFF  # bytes that never occur in UTF-8; BEGIN is only a context
OUTCOMES = 256  # the bytes; END is one of them
MAX_BYTES = 1 << 16  # of the rare symbols in a model file
SEPARATOR = "\n"  # between the rare symbols in a file; a symbol that contains it is left out
BATCH = 1 << 12  # symbols that are spelled at once; bounds the memory
MAX_KNOWN = 1 << 16  # symbols whose probabilities are kept


class UnknownCost(NamedTuple):
    """Mean characters and mean nats of the out-of-vocabulary tokens of a text; NaN if not known.

    `known` is −ln(1 − p(`<unk>`)), what each token in the vocabulary costs in addition.
    """

    chars: float = math.nan
    nats: float = math.nan
    known: float = math.nan


class UnknownModel:
    """The probability of `<unk>`, and of the symbol that it stands for.

    `examples` are the rare symbols on which the spelling is trained. Spellings end with END, except
    those of single characters (`ends` is False), whose first byte determines their length.
    """

    def __init__(self, probability: float, examples: Sequence[str], *, ends: bool) -> None:
        self.probability, self.examples, self.ends = probability, tuple(examples), ends
        self._known: dict[str, float] = {}

    @classmethod
    def fit(
        cls,
        tokenizer: Tokenizer,
        counts: Integers,
        unknown: Mapping[str, int],
        min_count: int | None,
    ) -> "UnknownModel | None":
        """Return the model of a training text; None if the tokenizer has no `<unk>`.

        `counts`, (V,), has the occurrences of each token, `unknown` those of each symbol outside
        the vocabulary. p(`<unk>`) is the Good–Turing estimate: the fraction of training tokens that
        would be out of vocabulary if the vocabulary were built without this one occurrence. Where
        the vocabulary holds every training symbol, these are the symbols that occur once. With a
        `min_count` of m they are those that occur at most m times, and with a limited size those
        with at most one occurrence more than a symbol outside. `min_count` is None for the
        vocabulary of another text, which is fixed: then only its out-of-vocabulary tokens count.
        """
        if tokenizer.unk_id is None:
            return None
        limit = 0 if min_count is None else max(min_count, 1 + max(unknown.values(), default=0))
        rare = np.flatnonzero((counts > 0) & (counts <= limit))
        symbols = ((tokenizer.pieces[i].decode(), int(counts[i])) for i in rare.tolist())
        outside = sum(unknown.values())
        tokens = int(counts.sum()) + outside
        # At least half an occurrence, so that no probability is zero.
        expected = min(max(int(counts[rare].sum()) + outside, 0.5), tokens - 0.5)
        examples = _examples(itertools.chain(unknown.items(), symbols))
        return cls(expected / tokens, examples, ends=not tokenizer.tokens_are_chars)

    @property
    def known_nats(self) -> float:
        """Return −ln(1 − p(`<unk>`)), the nats that each token in the vocabulary costs."""
        return -math.log1p(-self.probability)

    def nats(self, symbols: Sequence[str]) -> Doubles:
        """Return -ln p of each out-of-vocabulary symbol, (S,): p(`<unk>`) times its spelling."""
        known = self._known
        if not known.keys() >= set(symbols):
            if len(known) > MAX_KNOWN:
                known.clear()
            new = [symbol for symbol in dict.fromkeys(symbols) if symbol not in known]
            for start in range(0, len(new), BATCH):
                batch = new[start : start + BATCH]
                nats = self._spelling_nats(batch) - math.log(self.probability)
                known.update(zip(batch, nats.tolist(), strict=True))
        return np.array([known[symbol] for symbol in symbols])

    def to_json(self) -> dict[str, Any]:
        """Return the model as a JSON object."""
        return {"probability": self.probability, "symbols": SEPARATOR.join(self.examples)}

    @classmethod
    def from_json(cls, value: Any, tokenizer: Tokenizer) -> "UnknownModel":
        """Return the model of a JSON object. Raise DataError if it is invalid."""
        match value:
            case {"probability": float(probability), "symbols": str(symbols)} if (
                0 < probability < 1 and len(symbols) <= MAX_BYTES
            ):
                examples = symbols.split(SEPARATOR) if symbols else []
                return cls(probability, examples, ends=not tokenizer.tokens_are_chars)
        raise DataError("the model of unknown symbols is damaged")

    def _spelling_nats(self, symbols: Sequence[str]) -> Doubles:
        """Return -ln p of the spelling of each symbol, (S,)."""
        ngrams, owners = _ngrams(symbols, ends=self.ends)
        probabilities = np.full(len(ngrams), 1 / OUTCOMES)
        for n, order in enumerate(self._orders, 1):
            probabilities = order.interpolated(_last(ngrams, n), probabilities)
        return np.bincount(owners, -np.log(probabilities), len(symbols)).astype(np.float64)

    @cached_property
    def _orders(self) -> "list[_Order]":
        """Count the n-grams of the examples, from n = 1 to ORDER.

        The highest order counts occurrences, a lower one the different bytes before an n-gram.
        """
        ngrams, _ = _ngrams(self.examples, ends=self.ends)
        orders = []
        for n in range(ORDER, 0, -1):
            orders.append(_Order.of(ngrams))
            ngrams = _last(orders[-1].ngrams, n - 1)
        return orders[::-1]


def cost_of(symbols: Mapping[str, int], model: UnknownModel | None) -> UnknownCost:
    """Return the cost of the out-of-vocabulary symbols of a text, given the count of each."""
    names, counts = list(symbols), np.array(list(symbols.values()))
    total = max(1, counts.sum())
    chars = float(counts @ np.array([len(name) for name in names]) / total) if names else math.nan
    if model is None:
        return UnknownCost(chars)
    return UnknownCost(chars, float(counts @ model.nats(names) / total), model.known_nats)


class _Order(NamedTuple):
    """The n-grams of one order, sorted, with their counts; the same for their contexts.

    `totals` are the counts of the contexts, `followers` the different bytes after each.
    """

    ngrams: Integers
    counts: Integers
    contexts: Integers
    totals: Integers
    followers: Integers

    @classmethod
    def of(cls, ngrams: Integers) -> "_Order":
        """Count n-grams and their contexts."""
        distinct, counts = np.unique(ngrams, return_counts=True)
        contexts, owners, followers = np.unique(
            distinct >> 8, return_inverse=True, return_counts=True
        )
        totals = np.bincount(owners, counts, len(contexts)).astype(np.int64)
        return cls(distinct, counts, contexts, totals, followers)

    def interpolated(self, ngrams: Integers, lower_order: Doubles) -> Doubles:
        """Return p of the last byte of each n-gram, (N,), given p of the lower order."""
        return interpolated(
            _found(self.ngrams, self.counts, ngrams),
            _found(self.contexts, self.totals, ngrams >> 8),
            _found(self.contexts, self.followers, ngrams >> 8),
            discount(self.counts),
            lower_order,
        )


def discount(counts: Integers) -> float:
    """Return what Kneser–Ney subtracts from the counts of one order: n1 / (n1 + 2 n2)."""
    once, twice = (int(np.count_nonzero(counts == n)) for n in (1, 2))
    return once / (once + 2 * twice) if once else 0.5


def interpolated(
    counts: Integers, totals: Integers, followers: Integers, discount: float, lower_order: Doubles
) -> Doubles:
    """Return p by interpolated Kneser–Ney from the counts of one order and p of the lower order.

    With the count c of an n-gram, the count C of its context, the number t of different tokens
    that follow the context, and the discount D:

        p = max(c - D, 0) / C + D t / C · p_lower, or p_lower if C is 0
    """
    is_known, some = totals > 0, np.maximum(totals, 1)
    weight = np.where(is_known, discount * followers / some, 1.0)
    p: Doubles = np.where(is_known, np.maximum(counts - discount, 0) / some, 0.0)
    return p + weight * lower_order


def _ngrams(symbols: Sequence[str], *, ends: bool) -> tuple[Integers, Integers]:
    """Return the ORDER bytes up to each byte as an integer, (N,), and the index of its symbol."""
    begin, end = bytes([BEGIN]) * (ORDER - 1), bytes([END]) if ends else b""
    spelled = [begin + to_utf8(symbol) + end for symbol in symbols]
    text = np.frombuffer(b"".join(spelled), np.uint8).astype(np.int64)
    ngrams = sum((np.roll(text, n) << 8 * n for n in range(ORDER)), np.zeros_like(text))
    owners = np.repeat(np.arange(len(symbols)), [len(each) for each in spelled])
    return ngrams[text != BEGIN], owners[text != BEGIN]


def _last(ngrams: Integers, n: int) -> Integers:
    """Return the last n bytes of n-grams."""
    return ngrams & ((1 << 8 * n) - 1)


def _found(keys: Integers, values: Integers, wanted: Integers) -> Integers:
    """Return the value of each wanted key, (N,), given sorted keys; 0 if there is none."""
    if not len(keys):
        return np.zeros_like(wanted)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)


def _examples(counts: Iterable[tuple[str, int]]) -> list[str]:
    """Return symbols of at most MAX_BYTES in total, sorted: the most frequent, of ties some.

    The ties are taken in the order of their CRC-32, which does not favor any spelling.
    """
    storable = (symbol for symbol in counts if _is_storable(symbol[0]))
    most = heapq.nsmallest(
        MAX_BYTES // 2, storable, key=lambda symbol: (-symbol[1], crc32(symbol[0].encode()), symbol)
    )
    ends = np.cumsum([len(symbol.encode()) + len(SEPARATOR) for symbol, _ in most])
    return sorted(symbol for symbol, _ in most[: int(np.searchsorted(ends, MAX_BYTES, "right"))])


def _is_storable(symbol: str) -> bool:
    """Return whether a symbol can be written to a file: it is valid Unicode without SEPARATOR."""
    return SEPARATOR not in symbol and not any("\ud800" <= c <= "\udfff" for c in symbol)
