"""The two-lag task: its entropies, its data, a short run, and the results of measurements."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from charnn.lab import memory
from charnn.lab.experiment import Progress
from charnn.lab.memory import LEVELS, Task, Trial

SHORT_TASK = Task(100_000, 50, ("rnn",), lengths=(3, 5))


def test_entropies_equal_those_of_the_joint_distribution() -> None:
    """Computed from all values of X_{t-3}, X_{t-8} and Y_t."""
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


def test_windows_from_a_zero_state_see_the_lags_that_fit_into_them() -> None:
    """n = 3 sees neither lag, n = 4 the first at one position, n = 10 both at two positions."""
    neither, first, both = LEVELS.values()
    assert memory.best_of_windows(3) == pytest.approx(neither)
    assert memory.best_of_windows(4) == pytest.approx((3 * neither + first) / 4)
    assert memory.best_of_windows(10) == pytest.approx((3 * neither + 5 * first + 2 * both) / 10)


def test_the_flips_follow_the_formula() -> None:
    """The target of X_t is Y_t; its mean for each pair of lagged flips is P(Y_t = 1)."""
    x, targets = memory.flips(200_000, seed=5)
    assert targets[0] == -1
    y = targets[1:]  # y[i] is Y at the time of x[i]
    for a, b in itertools.product((0, 1), repeat=2):
        now = np.arange(8, len(y))
        chosen = now[(x[now - 3] == a) & (x[now - 8] == b)]
        assert y[chosen].mean() == pytest.approx(0.5 + 0.5 * a - 0.25 * b, abs=0.01)


def test_a_short_run_confirms_the_claim() -> None:
    """100,000 flips are enough for all parts; progress numbers the six networks."""
    reports: dict[str, float] = {}
    trials = memory.run_trials(SHORT_TASK, 1, reports.__setitem__)
    finding = memory.finding_of(trials, SHORT_TASK)

    assert finding.held, finding.verdict
    assert len(reports) == 6
    assert next(iter(reports)) == "1 of 6: RNN 16, zero state, n = 3"
    assert list(reports.values()) == sorted(reports.values())
    assert max(reports.values()) == pytest.approx(1, abs=0.01)
    assert finding.tables[0].header == ["network", "n = 3", "n = 5"]


def test_the_same_seed_gives_the_same_loss() -> None:
    """Another seed changes data, weights and order."""
    task = Task(5000, 50, ("rnn",))
    progress = Progress(lambda text, fraction: None, [1])
    progress.start("trial")
    losses = [
        memory.run_trial("rnn", 4, "random", 5, task, seed, progress).loss for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def measured(**changes) -> list[Trial]:
    """Losses that confirm the claim, except for `changes` of networks at n = 5."""
    neither, first, both = LEVELS.values()
    losses = {
        ("rnn", 16, "zero"): {3: neither, 5: 0.605},
        ("rnn", 16, "carried"): {3: neither, 5: both},
        ("rnn", 4, "carried"): {3: neither, 5: first},
    }
    trials = [
        Trial(*line, bptt, loss) for line, by_n in losses.items() for bptt, loss in by_n.items()
    ]
    return [
        dataclasses.replace(t, loss=changes.get(f"{t.cell}_{t.hidden_size}_{t.state}", t.loss))
        if t.bptt == 5
        else t
        for t in trials
    ]


@pytest.mark.parametrize(
    ("changes", "contradicted"),
    [
        ({}, None),
        ({"rnn_16_zero": 0.66}, "windows of n = 5 do not learn"),
        ({"rnn_16_carried": 0.51}, "16 units are not enough"),
        ({"rnn_4_carried": 0.47}, "4 units are not too few"),
    ],
)
def test_each_part_of_the_claim_depends_on_its_measurements(changes, contradicted) -> None:
    """One wrong loss contradicts one part, whose text has the loss."""
    finding = memory.finding_of(measured(**changes), SHORT_TASK)

    assert len(finding.checks) == 4
    assert finding.held is (contradicted is None)
    parts = [str(check) for check in finding.checks if not check.confirmed]
    assert [contradicted in part for part in parts] == [True] * bool(contradicted)
    for loss in changes.values():
        assert f"{loss:.4f}" in finding.verdict
