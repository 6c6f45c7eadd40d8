"""Filter logits (temperature, top-k, top-p, min-p, repetition penalty) and sample tokens.

Shapes: B samples, V vocab_size. Logits are float64, (B, V); -inf excludes a token.
A filter is a function (logits, value, recent tokens) → logits and modifies nothing in place.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from charnn.arrays import Bools, Doubles, Ids, Indices, Integers

SORTED = 1024  # vocabulary size above which top-p sorts only candidates
RECENT = 64  # tokens in the window of the repetition penalty, as in llama.cpp
MIN_TEMPERATURE = 1e-100  # a lower value could overflow and does not change the result
BELOW_ONE = 1 - 2**-52  # keeps uniform * total below total after rounding


class RecentTokens:
    """The last RECENT tokens of each of B samples: the window of the repetition penalty.

    `ids`, (B, RECENT), is a ring buffer: `append` overwrites the oldest column. Unused entries
    are V, which is not a token. All samples start with the tokens `initial`.
    """

    def __init__(self, initial: Integers, samples: int, vocab_size: int) -> None:
        padding = np.full(RECENT - len(initial), vocab_size)
        self._initial = np.concatenate([padding, initial])
        self._vocab_size = vocab_size
        self._oldest = 0  # the column that the next call of `append` overwrites
        self.ids = self._initial[None].repeat(samples, axis=0)

    def append(self, ids: Ids) -> None:
        """Add one token to each sample, (B,)."""
        self.ids[:, self._oldest] = ids
        self._oldest = (self._oldest + 1) % RECENT

    def reset(self, row: int) -> None:
        """Reset a row to the initial tokens, for a new sample."""
        self.ids[row] = np.roll(self._initial, self._oldest)

    def keep(self, rows: list[int]) -> None:
        """Keep only these rows."""
        self.ids = self.ids[rows]

    def in_order(self, row: int) -> Integers:
        """Return the tokens of a row, oldest first, (≤ RECENT,)."""
        ids = np.roll(self.ids[row], -self._oldest)
        filled: Integers = ids[ids < self._vocab_size]
        return filled


def repetition_penalty(logits: Doubles, penalty: float, recent: Integers) -> Doubles:
    """Divide positive logits of recent tokens by the penalty, multiply negative ones by it.

    `recent`, (B, RECENT), is `RecentTokens.ids`. Keskar et al., "CTRL", 2019, as implemented by
    Hugging Face, over a window.
    """
    samples, vocabulary = logits.shape
    seen = np.zeros((samples, vocabulary + 1), bool)
    np.put_along_axis(seen, recent, True, axis=1)
    penalized = np.where(logits > 0, logits / penalty, logits * penalty)
    return np.where(seen[:, :vocabulary], penalized, logits)


def temperature(logits: Doubles, value: float, _recent: Integers) -> Doubles:
    """Divide by the temperature; 0 keeps only the most likely token, the first of a tie."""
    if value == 0:
        greedy = np.full_like(logits, -np.inf)
        np.put_along_axis(greedy, logits.argmax(axis=1)[:, None], 0.0, axis=1)
        return greedy
    return logits / max(value, MIN_TEMPERATURE)


def top_k(logits: Doubles, count: float, _recent: Integers) -> Doubles:
    """Keep the `count` most likely tokens, and tokens tied with the last of them.

    Fan, Lewis and Dauphin, "Hierarchical neural story generation", 2018.
    """
    rank = logits.shape[1] - int(count)
    if rank <= 0:
        return logits
    least = np.partition(logits, rank, axis=1)[:, rank, None]
    return np.where(logits < least, -np.inf, logits)


def top_p(logits: Doubles, total: float, _recent: Integers) -> Doubles:
    """Keep the smallest set of most likely tokens with a total probability of at least `total`.

    In a tie, tokens with lower ids are kept. Holtzman et al., "The curious case of neural text
    degeneration", 2020.
    """
    if logits.shape[1] <= SORTED:
        return np.where(_nucleus(logits, total), logits, -np.inf)
    weights = np.exp(logits - row_max(logits))
    sums = weights.sum(axis=1, keepdims=True)
    is_candidate, least = weights >= 1, 1.0  # the most likely tokens
    while (np.where(is_candidate, weights, 0).sum(axis=1, keepdims=True) < total * sums).any():
        least /= 16
        is_candidate = weights >= least
    rows, ids = np.nonzero(is_candidate)
    counts = np.count_nonzero(is_candidate, axis=1)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    candidates = np.full((len(logits), counts.max()), -np.inf)
    candidates[rows, columns] = logits[rows, ids]
    kept = _nucleus(candidates, total, sums)[rows, columns]
    result = np.full_like(logits, -np.inf)
    result[rows[kept], ids[kept]] = logits[rows[kept], ids[kept]]
    return result


def _nucleus(logits: Doubles, total: float, sums: Doubles | None = None) -> Bools:
    """Return which tokens top-p keeps, by sorting all logits.

    `sums`, (B, 1), are the total weights relative to the most likely token, by default of these
    logits.
    """
    order = np.argsort(-logits, axis=1, kind="stable")
    weights = np.exp(np.take_along_axis(logits, order, axis=1) - row_max(logits))
    before = np.cumsum(weights, axis=1) - weights  # total weight of more likely tokens
    limits = total * (weights.sum(axis=1, keepdims=True) if sums is None else sums)
    keep = np.empty(logits.shape, bool)
    np.put_along_axis(keep, order, before < limits, axis=1)
    return keep


def min_p(logits: Doubles, fraction: float, _recent: Integers) -> Doubles:
    """Exclude tokens less likely than this fraction of the probability of the most likely one.

    Nguyen et al., "Turning up the heat: Min-p sampling", 2024.
    """
    return np.where(logits < row_max(logits) + math.log(fraction), -np.inf, logits)


Apply = Callable[[Doubles, float, Integers], Doubles]


class Filter(NamedTuple):
    """A filter function and the value that disables it."""

    neutral: float
    apply: Apply


# Keys are fields of SampleConfig; the filters are applied in the order of Hugging Face.
FILTERS: dict[str, Filter] = {
    "repetition_penalty": Filter(1.0, repetition_penalty),
    "temperature": Filter(1.0, temperature),
    "top_k": Filter(0, top_k),
    "top_p": Filter(1.0, top_p),
    "min_p": Filter(0.0, min_p),
}


def active_filters(values: Mapping[str, float]) -> list[tuple[Apply, float]]:
    """Return the enabled filters with their values, in order of application."""
    return [
        (apply, values[name])
        for name, (neutral, apply) in FILTERS.items()
        if values[name] != neutral
    ]


def apply_filters(logits: Doubles, filters: list[tuple[Apply, float]], recent: Integers) -> Doubles:
    """Return the logits after all filters have been applied."""
    for apply, value in filters:
        logits = apply(logits, value, recent)
    return logits


def draw_tokens(logits: Doubles, uniforms: Doubles) -> Indices:
    """Sample one token per row, (B,), by inverse transform sampling.

    `uniforms`, (B,), are random numbers in [0, 1). At least one logit of each row must be finite;
    a token whose logit is -inf is never sampled.
    """
    weights = logits - row_max(logits)
    np.exp(weights, weights)
    np.add.accumulate(weights, 1, None, weights)
    if len(weights) == 1:  # same result by bisection, faster for one row
        row = weights[0]
        return np.array([row.searchsorted(uniforms[0] * BELOW_ONE * row[-1], "right")])
    thresholds = (uniforms * BELOW_ONE)[:, None] * weights[:, -1:]
    ids: Indices = (weights > thresholds).argmax(axis=1)
    return ids


def row_max(logits: Doubles) -> Doubles:
    """Return the largest logit of each row, (B, 1)."""
    return np.maximum.reduce(logits, axis=1, keepdims=True)  # faster than logits.max
