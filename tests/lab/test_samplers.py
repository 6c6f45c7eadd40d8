"""Orders of the data against each other: the shuffled text, the three readings, the verdict."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.lab import samplers, small_models
from charnn.lab.samplers import RANDOM, SEQUENTIAL, SHUFFLED, Effort, Trial

TINY = Effort(hidden_size=16, epochs=1.0)


@given(st.integers(2, 200), st.integers(1, 20), st.integers(0, 5))
def test_a_shuffled_text_has_all_windows_and_what_follows_each_token(count, window, seed) -> None:
    """Every place but those that fill no window; beside it, one further on, its successor."""
    if count <= window:
        return
    tokens = np.arange(count)
    inputs, targets = samplers.shuffled(tokens, window, seed)
    whole = (count - 1) // window * window

    assert targets[0] == -1
    assert Counter(inputs[:-1].tolist()) == Counter(range(whole))
    assert (targets[1:] == inputs[:-1] + 1).all()
    inside = np.arange(1, whole) % window != 0
    assert (np.diff(inputs[:-1])[inside] == 1).all()


def small_book() -> small_models.Book:
    """The beginning of the embedded book."""
    book = small_models.embedded_book()
    return dataclasses.replace(book, train=book.train[:30_000], val=book.val[:3000])


@pytest.mark.parametrize("order", samplers.ORDERS)
def test_a_trial_scores_the_network_in_three_ways(order) -> None:
    """The state is worth something only where it is the true one."""
    lines: list[str] = []
    found = samplers.run_trial(small_book(), order, 16, TINY, 1, lines.append)

    assert (found.order, found.bptt) == (order, 16)
    assert len(lines) == 30_000 // samplers.TOKENS + 1
    assert found.carried < found.zeroed
    assert found.carried < found.broken


def measured(**changes) -> list[Trial]:
    """Losses as the claims have them, but for `changes` of one order."""
    usual = {
        RANDOM: {"training": 1.8, "zeroed": 1.8, "carried": 1.6, "broken": 2.0},
        SEQUENTIAL: {"training": 1.4, "zeroed": 2.1, "carried": 1.4, "broken": 2.3},
        SHUFFLED: {"training": 1.9, "zeroed": 2.0, "carried": 1.7, "broken": 2.0},
    }
    return [
        Trial(order, bptt, **{name: 1 + (x - 1) / bptt for name, x in losses.items()})
        for bptt in samplers.LENGTHS
        for order, losses in {**usual, **changes}.items()
    ]


@pytest.mark.parametrize(
    ("changes", "contradicted"),
    [
        ({}, None),
        ({"zeroed": 1.7}, "from a state of zero"),
        ({"carried": 1.65}, "with carried state"),
        ({"broken": 1.3}, "a state carried over breaks"),
        ({"carried": 1.7001}, "and training over them"),
    ],
)
def test_the_verdict_follows_from_the_figures(changes, contradicted) -> None:
    """What does not fit makes the claims not hold, and the sentence says which part."""
    usual = {"training": 1.4, "zeroed": 2.1, "carried": 1.4, "broken": 2.3}
    finding = samplers.finding_of(measured(**{SEQUENTIAL: {**usual, **changes}}), TINY)

    assert finding.held is (contradicted is None)
    parts = [part for part in finding.verdict.split("; ") if "NOT so here" in part]
    assert len(finding.tables[0].rows) == 9
    if contradicted:
        assert any(contradicted in part for part in parts)
    else:
        assert parts == []
