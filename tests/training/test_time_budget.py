"""Plans of runs with --minutes, with a simulated clock."""

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
    """A clock that advances only when `now` is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(budget, clock, steps, seconds) -> None:
    """Time this number of steps."""
    for _ in range(steps):
        with budget.stepping():
            clock.now += seconds


def minutes_for(seconds: float) -> float:
    """Return the minutes of a budget with this many seconds after the start-up."""
    return (seconds + STARTUP_RESERVE) / 60


def test_steps_fill_the_time_without_validations() -> None:
    """100 seconds at one second per step, less three validations of five seconds each."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes_for(125), eval_every=30, clock=clock)
    run(budget, clock, 20, 1.0)
    with budget.evaluating():
        clock.now += 5
    budget.plan(20)

    assert budget.elapsed == 25
    assert budget.steps == 20 + 85  # 100 s, three validations


def test_speed_is_checked_once_between_6_and_10_percent_of_the_minutes() -> None:
    """The median is not affected by a disturbance of the first seconds."""
    clock = Clock()
    budget = TimeBudget(minutes=100 / 60, clock=clock)
    run(budget, clock, 2, 1.0)  # disturbed
    run(budget, clock, 39, 0.1)
    assert budget.check_speed() is None
    run(budget, clock, 2, 0.1)

    assert budget.check_speed() == pytest.approx(0.1)
    assert budget.check_speed() is None


@pytest.mark.parametrize("minutes", [None, 0.5])
def test_speed_is_not_checked_too_late_or_without_minutes(minutes) -> None:
    """After a tenth of the time a new start would cost more than it gains."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes, clock=clock)
    run(budget, clock, 5, 1.0)

    assert budget.check_speed() is None


def test_first_plan_needs_three_seconds_or_twenty_steps() -> None:
    """And at least three steps, because the first ones are slow."""
    moments = []
    for seconds in (0.01, 1.0, 10.0):
        clock = Clock()
        budget = TimeBudget(minutes=10, clock=clock)
        while not budget.must_plan:
            run(budget, clock, 1, seconds)
        moments.append(round(clock.now / seconds))

    assert moments == [20, 3, 3]


def test_exceeded_budget_is_planned_immediately() -> None:
    """A single slow step can take all the time."""
    clock = Clock()
    budget = TimeBudget(minutes=0.1, clock=clock)
    run(budget, clock, 1, 60.0)

    assert budget.must_plan
    budget.plan(1)
    assert budget.steps == 1


def test_overhead_between_steps_is_included() -> None:
    """The time of display and checkpoints is added to every later step."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes_for(120), clock=clock)
    for _ in range(10):
        run(budget, clock, 1, 1.0)
        clock.now += 1
    budget.plan(10)

    assert budget.steps == 10 + 50


def test_slow_validation_does_not_end_the_run() -> None:
    """Most of the remaining time is reserved for steps."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes_for(1110), eval_every=4, clock=clock)
    run(budget, clock, 10, 1.0)
    with budget.evaluating():
        clock.now += 1000
    budget.plan(10)

    assert budget.steps == 10 + int(100 * (1 - MAX_RESERVED))


def test_validations_take_at_most_a_tenth_of_the_step_time() -> None:
    """Without --eval-every, slow validations make the interval longer."""
    clock = Clock()
    budget = TimeBudget(minutes=60, clock=clock)
    run(budget, clock, 10, 1.0)
    with budget.evaluating():
        clock.now += 100
    budget.plan(10)

    assert not budget.evaluation_is_due(999, 0)
    assert budget.evaluation_is_due(1000, 0)


def test_resumed_run_counts_earlier_seconds() -> None:
    """`spent` counts towards the budget, but not towards the speed."""
    clock = Clock()
    budget = TimeBudget(minutes=minutes_for(100), clock=clock)
    budget.start(50)
    run(budget, clock, 10, 1.0)
    budget.plan(10)

    assert budget.elapsed == 60
    assert budget.steps == 50


def test_plan_changes_only_beyond_the_deadband() -> None:
    """Steps that become 2 % slower do not change it; 50 % do."""
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


def test_plan_without_minutes_does_not_depend_on_the_clock() -> None:
    """Steps and interval are those of the configuration."""
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


def test_longer_run_validates_a_larger_fraction() -> None:
    """At least enough tokens to compare two models, at most the whole split."""
    cost = ValidationCost(split=100_000)

    assert cost.fraction(0) == MIN_VALIDATED / 100_000
    assert cost.fraction(4e6) == pytest.approx(0.3)
    assert cost.fraction(1e9) == 1


def test_final_evaluation_takes_at_most_half_of_the_minutes() -> None:
    """A validation of a tenth of the split takes ten seconds, so the whole takes a hundred."""
    clock = Clock()
    cost = ValidationCost(split=10 * MIN_VALIDATED, final=10 * MIN_VALIDATED)
    budget = TimeBudget(minutes=1, cost=cost, clock=clock)
    assert budget.final_fraction == 1  # before any measurement
    with budget.evaluating():
        clock.now += 10

    assert budget.fraction == 0.1
    assert budget.final_fraction == pytest.approx(MAX_FINAL * 60 / 100)
