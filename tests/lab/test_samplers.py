"""Orders of the data: the shuffled text, three evaluations, and the results of measurements."""

import dataclasses
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.lab import samplers, small_models
from charnn.lab.experiment import Progress
from charnn.lab.samplers import RANDOM, SEQUENTIAL, SHUFFLED, Effort, Trial

TINY = Effort(hidden_size=16, epochs=1.0, lengths=(4, 16, 64))


@given(st.integers(2, 200), st.integers(1, 20), st.integers(0, 5))
def test_a_shuffled_text_has_all_windows_and_the_next_token_of_each(count, window, seed) -> None:
    """Without an incomplete last window; the target of a token is the one that follows it."""
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
    """Return the beginning of the embedded book."""
    book = small_models.embedded_book()
    return dataclasses.replace(book, train=book.train[:30_000], val=book.val[:3000])


@pytest.mark.parametrize("order", samplers.ORDERS)
def test_a_trial_evaluates_the_network_in_three_ways(order) -> None:
    """The carried state has the lowest loss; progress is reported for each step."""
    reports: list[tuple[str, float]] = []
    progress = Progress(lambda *report: reports.append(report), [1])
    progress.start(order)
    found = samplers.run_trial(small_book(), order, 16, TINY, 1, progress)

    assert (found.order, found.bptt) == (order, 16)
    assert len(reports) == 30_000 // samplers.TOKENS + 2
    assert reports[-1] == (f"1 of 1: {order}", pytest.approx(1, abs=0.01))
    assert found.carried < found.zero
    assert found.carried < found.shuffled


def measured(**changes) -> list[Trial]:
    """Losses that confirm the claims, except for `changes` of one order."""
    usual = {
        RANDOM: {"training": 1.8, "zero": 1.8, "carried": 1.6, "shuffled": 2.0},
        SEQUENTIAL: {"training": 1.4, "zero": 2.1, "carried": 1.4, "shuffled": 2.3},
        SHUFFLED: {"training": 1.9, "zero": 2.0, "carried": 1.7, "shuffled": 2.0},
    }
    return [
        Trial(order, bptt, **{name: 1 + (x - 1) / bptt for name, x in losses.items()})
        for bptt in TINY.lengths
        for order, losses in {**usual, **changes}.items()
    ]


@pytest.mark.parametrize(
    ("changes", "contradicted"),
    [
        ({}, []),
        ({"zero": 1.7}, ["Evaluated from a zero state, training in random order is not better"]),
        ({"carried": 1.65}, ["Evaluated with carried state, training in order is not better"]),
        ({"shuffled": 1.3}, ["In evaluation, a state carried over shuffled windows is not worse"]),
        (
            {"carried": 1.7001},
            ["Evaluated with carried", "Training in shuffled order with carried state is not"],
        ),
    ],
)
def test_each_part_of_the_claim_depends_on_its_measurements(changes, contradicted) -> None:
    """A wrong loss contradicts the parts that use it; no difference has a negative sign."""
    usual = {"training": 1.4, "zero": 2.1, "carried": 1.4, "shuffled": 2.3}
    finding = samplers.finding_of(measured(**{SEQUENTIAL: {**usual, **changes}}), TINY)

    assert len(finding.checks) == 4
    assert finding.held is (contradicted == [])
    parts = [str(check) for check in finding.checks if not check.confirmed]
    for part, text in zip(parts, contradicted, strict=True):
        assert part.startswith(f"Contradicted: {text}")
    assert len(finding.tables[0].rows) == 9
    assert not re.search(r"[-−]\d", finding.verdict)
