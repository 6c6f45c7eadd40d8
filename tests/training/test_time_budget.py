"""The plan of a run with --minutes, on machines with a simulated clock."""

import pytest

from charnn.training.time_budget import (
    MAX_FINAL,
    MAX_RESERVED,
    MIN_VALIDATED,
    STARTUP_RESERVE,
    TimeBudget,
    ValidationCost,
)


class Clock:
    """A clock that advances only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(budget, clock, steps, seconds) -> None:
    for _ in range(steps):
        with budget.stepping():
            clock.now += seconds


def minutes_for(seconds: float) -> float:
    """Minutes of a budget with so many seconds beside the start-up."""
    return (seconds + STARTUP_RESERVE) / 60


def test_steps_fill_what_validations_leave() -> None:
    """A hundred seconds at a second a step, less validations of five seconds each."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes_for(125), eval_every=30, clock=clock)
    run(budget, clock, 20, 1.0)
    with budget.evaluating():
        clock.now += 5
    budget.plan(20)

    assert budget.elapsed == 25
    assert budget.steps == 20 + 85  # 100 s, three validations


def test_the_first_plan_waits_for_three_seconds_or_twenty_steps() -> None:
    """And for three steps in any case, because the first ones are slow."""
    moments = []
    for seconds in (0.01, 1.0, 10.0):
        clock = Clock()
        budget = TimeBudget(minutes=10, clock=clock)
        while not budget.must_plan:
            run(budget, clock, 1, seconds)
        moments.append(round(clock.now / seconds))

    assert moments == [20, 3, 3]


def test_a_budget_that_is_over_is_planned_at_once() -> None:
    """One slow step may take all the time there is."""
    clock = Clock()
    budget = TimeBudget(minutes=0.1, clock=clock)
    run(budget, clock, 1, 60.0)

    assert budget.must_plan
    budget.plan(1)
    assert budget.steps == 1


def test_overhead_between_steps_counts() -> None:
    """Display and checkpoints take their part of every later step."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes_for(120), clock=clock)
    for _ in range(10):
        run(budget, clock, 1, 1.0)
        clock.now += 1
    budget.plan(10)

    assert budget.steps == 10 + 50


def test_one_slow_validation_does_not_end_the_run() -> None:
    """However long it took, most of the time that is left remains for steps."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes_for(1110), eval_every=4, clock=clock)
    run(budget, clock, 10, 1.0)
    with budget.evaluating():
        clock.now += 1000
    budget.plan(10)

    assert budget.steps == 10 + int(100 * (1 - MAX_RESERVED))


def test_validations_take_a_tenth_of_the_time_of_steps_at_most() -> None:
    """Without --eval-every a slow validation makes the interval longer."""
    clock = Clock()
    budget = TimeBudget(minutes=60, clock=clock)
    run(budget, clock, 10, 1.0)
    with budget.evaluating():
        clock.now += 100
    budget.plan(10)

    assert not budget.evaluation_is_due(999, 0)
    assert budget.evaluation_is_due(1000, 0)


def test_a_resumed_run_has_used_its_earlier_seconds() -> None:
    """`spent` counts towards the budget, not towards the speed."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes_for(100), clock=clock)
    budget.start(50)
    run(budget, clock, 10, 1.0)
    budget.plan(10)

    assert budget.elapsed == 60
    assert budget.steps == 50


def test_a_plan_changes_only_when_it_misses_the_budget() -> None:
    """Steps that become two per cent slower change nothing; fifty per cent do."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes_for(1000), clock=clock)
    run(budget, clock, 20, 1.0)
    budget.plan(20)
    assert budget.steps == 1000

    run(budget, clock, 100, 1.02)
    budget.plan(120)
    assert budget.steps == 1000
    run(budget, clock, 200, 1.5)
    budget.plan(320)
    assert budget.steps < 900


def test_without_minutes_nothing_depends_on_the_clock() -> None:
    """The steps and the interval are those of the configuration."""
    clock = Clock()
    budget = TimeBudget(steps=100, eval_every=10, clock=clock)
    run(budget, clock, 50, 100.0)
    with budget.evaluating():
        clock.now += 1000
    budget.plan(50)

    assert budget.steps == 100
    assert [step for step in range(1, 101) if budget.evaluation_is_due(step, 0)] == [
        *range(10, 101, 10)
    ]
    assert budget.final_fraction == 1


def test_a_validation_reads_more_of_the_split_in_a_longer_run() -> None:
    """At least what is needed to rank two models, at most all of it."""
    cost = ValidationCost(split=100_000)

    assert cost.fraction(0) == MIN_VALIDATED / 100_000
    assert cost.fraction(4e6) == pytest.approx(0.3)
    assert cost.fraction(1e9) == 1


def test_the_final_scoring_takes_half_of_the_minutes_at_most() -> None:
    """A validation of a tenth of the split takes ten seconds, so the whole takes a hundred."""
    clock = Clock()
    cost = ValidationCost(split=10 * MIN_VALIDATED, final=10 * MIN_VALIDATED)
    budget = TimeBudget(minutes=1, cost=cost, clock=clock)
    assert budget.final_fraction == 1  # before anything is known
    with budget.evaluating():
        clock.now += 10

    assert budget.fraction == 0.1
    assert budget.final_fraction == pytest.approx(MAX_FINAL * 60 / 100)
