"""The two-lag task: its entropies, its data, what a network learns of it, and the verdict."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from charnn.lab import memory
from charnn.lab.memory import LEVELS, Task, Trial

SHORT = Task(100_000, 50, ("rnn",), lengths=(3, 5))


def test_the_entropies_are_those_of_all_coin_flips() -> None:
    """By enumerating the joint distribution of X_{t-3}, X_{t-8} and Y_t instead of formulas."""
    joint = {
        (a, b, y): (p if y else 1 - p) / 4
        for a, b, y in itertools.product((0, 1), repeat=3)
        for p in [0.5 + 0.5 * a - 0.25 * b]
    }

    def entropy(known) -> float:
        def matching(flips, y):
            return sum(
                p
                for (a, b, z), p in joint.items()
                if z in y and all((a, b)[i] == flips[i] for i in known)
            )

        return -sum(
            p * math.log(matching(key, {key[2]}) / matching(key, {0, 1}))
            for key, p in joint.items()
            if p
        )

    assert LEVELS["neither"] == pytest.approx(entropy([]))
    assert LEVELS["first"] == pytest.approx(entropy([0]))
    assert LEVELS["both"] == pytest.approx(entropy([0, 1]))
    assert [round(level, 4) for level in LEVELS.values()] == [0.6616, 0.5192, 0.4545]


def test_windows_of_zeroed_state_see_the_lags_that_fit_into_them() -> None:
    """n = 3 sees none, n = 4 the first at its last place, long windows nearly always both."""
    neither, first, both = LEVELS.values()
    assert memory.best_of_windows(3) == pytest.approx(neither)
    assert memory.best_of_windows(4) == pytest.approx((3 * neither + first) / 4)
    assert memory.best_of_windows(10) == pytest.approx((3 * neither + 5 * first + 2 * both) / 10)


def test_the_flips_follow_the_formula() -> None:
    """Beside X_{t+1} stands Y_t; its mean for each pair of lagged flips is as stated."""
    x, targets = memory.flips(200_000, seed=5)
    assert targets[0] == -1
    y = targets[1:]  # y[i] is Y at the time of x[i]
    for a, b in itertools.product((0, 1), repeat=2):
        now = np.arange(8, len(y))
        chosen = now[(x[now - 3] == a) & (x[now - 8] == b)]
        assert y[chosen].mean() == pytest.approx(0.5 + 0.5 * a - 0.25 * b, abs=0.01)


def test_a_short_run_bears_the_claim_out() -> None:
    """A hundred thousand flips are enough for all four parts."""
    lines: list[str] = []
    finding = memory.finding_of(memory.run_trials(SHORT, 1, lines.append), SHORT)

    assert finding.held, finding.verdict
    assert len(lines) == 6
    assert [row[0] for row in finding.tables[0].rows] == ["3", "5"]


def test_the_same_seed_gives_the_same_loss() -> None:
    """And another seed another one: data, weights and order come from it."""
    task = Task(5000, 50, ("rnn",))
    losses = [memory.run_trial("rnn", 4, "random", 5, task, seed).loss for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def measured(**changes) -> list[Trial]:
    """Losses as the claim has them, but for `changes`, each of a line at n = 5."""
    neither, first, both = LEVELS.values()
    losses = {
        ("rnn", 16, "zeroed"): {3: neither, 5: 0.605},
        ("rnn", 16, "carried"): {3: neither, 5: both},
        ("rnn", 4, "carried"): {3: neither, 5: first},
    }
    trials = [
        Trial(*line, bptt, loss) for line, by_n in losses.items() for bptt, loss in by_n.items()
    ]
    return [
        dataclasses.replace(t, loss=changes.get(t.column.replace(" ", "_"), t.loss))
        if t.bptt == 5
        else t
        for t in trials
    ]


@pytest.mark.parametrize(
    ("changes", "contradicted"),
    [
        ({}, None),
        ({"rnn_16_zeroed": 0.66}, "n from 4 to 8"),
        ({"rnn_16_carried": 0.51}, "an RNN 16 wide"),
        ({"rnn_4_carried": 0.47}, "one 4 wide"),
    ],
)
def test_the_verdict_follows_from_the_figures(changes, contradicted) -> None:
    """One loss that does not fit, and the claim did not hold; the sentence says which part."""
    finding = memory.finding_of(measured(**changes), SHORT)

    assert finding.held is (contradicted is None)
    parts = [part for part in finding.verdict.split("; ") if part.startswith("NOT so here")]
    assert [contradicted in part for part in parts] == [True] * bool(contradicted)
    for loss in changes.values():
        assert f"{loss:.4f}" in finding.verdict
