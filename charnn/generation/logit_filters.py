"""Filter logits (temperature, top-k, top-p, min-p, repetition penalty) and draw tokens.

Shapes: B samples, V vocab_size. Logits are float64, (B, V); -inf is a token that cannot be drawn.
Every filter is a function of (logits, its value, the recent tokens) that changes nothing in place.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.arrays import Doubles, Integers

RECENT = 64  # tokens that the repetition penalty looks back on, as in llama.cpp
COLDEST = 1e-100  # below this a temperature could only overflow, not change the draw
BELOW_ONE = 1 - 2**-52  # keeps a threshold below the total it is a share of, however it is rounded


def repetition_penalty(logits: Doubles, penalty: float, recent: Integers) -> Doubles:
    """Divide the positive logits of recent tokens by the penalty, and multiply the others.

    `recent` is (B, RECENT) ids; V fills what is not filled yet. Keskar et al., "CTRL", 2019, in
    the form of Hugging Face, over a window.
    """
    samples, vocabulary = logits.shape
    seen = np.zeros((samples, vocabulary + 1), bool)
    np.put_along_axis(seen, recent, True, axis=1)
    penalised = np.where(logits > 0, logits / penalty, logits * penalty)
    return np.where(seen[:, :vocabulary], penalised, logits)


def temperature(logits: Doubles, value: float, _recent: Integers) -> Doubles:
    """Divide by the temperature; 0 leaves the likeliest token alone, the first if several are."""
    if value == 0:
        greedy = np.full_like(logits, -np.inf)
        np.put_along_axis(greedy, logits.argmax(axis=1)[:, None], 0.0, axis=1)
        return greedy
    return logits / max(value, COLDEST)


def top_k(logits: Doubles, count: float, _recent: Integers) -> Doubles:
    """Keep the `count` likeliest, and those that tie with the last of them.

    Fan, Lewis and Dauphin, "Hierarchical neural story generation", 2018.
    """
    place = logits.shape[1] - int(count)
    if place <= 0:
        return logits
    least = np.partition(logits, place, axis=1)[:, place, None]
    return np.where(logits < least, -np.inf, logits)


def top_p(logits: Doubles, share: float, _recent: Integers) -> Doubles:
    """Keep the likeliest until their probabilities sum to `share`; of equals, the first.

    Holtzman et al., "The curious case of neural text degeneration", 2020.
    """
    order = np.argsort(-logits, axis=1, kind="stable")
    weights = np.exp(np.take_along_axis(logits, order, axis=1) - highest(logits))
    above = np.cumsum(weights, axis=1) - weights  # of the likelier ones alone
    keep = np.empty(logits.shape, bool)
    np.put_along_axis(keep, order, above < share * weights.sum(axis=1, keepdims=True), axis=1)
    return np.where(keep, logits, -np.inf)


def min_p(logits: Doubles, share: float, _recent: Integers) -> Doubles:
    """Drop what is less likely than `share` of the likeliest. Nguyen et al., "Min-p", 2024."""
    return np.where(logits < highest(logits) + math.log(share), -np.inf, logits)


Apply = Callable[[Doubles, float, Integers], Doubles]


class Filter(NamedTuple):
    """A filter and the value at which it does nothing."""

    neutral: float
    apply: Apply


# Names as in SampleConfig, in the order of application, which is Hugging Face's.
FILTERS: dict[str, Filter] = {
    "repetition_penalty": Filter(1.0, repetition_penalty),
    "temperature": Filter(1.0, temperature),
    "top_k": Filter(0, top_k),
    "top_p": Filter(1.0, top_p),
    "min_p": Filter(0.0, min_p),
}


def chain(values: Mapping[str, float]) -> list[tuple[Apply, float]]:
    """The filters that do something, with their values, in order; `values` has one for each."""
    return [
        (apply, values[name])
        for name, (neutral, apply) in FILTERS.items()
        if values[name] != neutral
    ]


def filtered(logits: Doubles, filters: list[tuple[Apply, float]], recent: Integers) -> Doubles:
    """Logits through a chain of filters."""
    for apply, value in filters:
        logits = apply(logits, value, recent)
    return logits


def draw(logits: Doubles, uniforms: Doubles) -> npt.NDArray[np.intp]:
    """One token a row, (B,), by inversion of the cumulative probabilities at `uniforms`, (B,).

    The uniforms are in [0, 1); at least one logit of a row is finite. A token whose logit is -inf
    is never drawn.
    """
    weights = logits - highest(logits)
    np.exp(weights, weights)
    np.add.accumulate(weights, 1, None, weights)
    if len(weights) == 1:  # the same by bisection, as a single stream has it quicker
        row = weights[0]
        return np.array([row.searchsorted(uniforms[0] * BELOW_ONE * row[-1], "right")])
    thresholds = (uniforms * BELOW_ONE)[:, None] * weights[:, -1:]
    ids: npt.NDArray[np.intp] = (weights > thresholds).argmax(axis=1)
    return ids


def highest(logits: Doubles) -> Doubles:
    """The largest logit of each row, (B, 1)."""
    return np.maximum.reduce(logits, axis=1, keepdims=True)  # quicker than logits.max
