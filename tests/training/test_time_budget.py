"""How much time is left for steps, on machines with a clock of their own."""

from charnn.training.time_budget import MOST_RESERVED, Pace, plan_holds


class Machine:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(pace, machine, steps, seconds) -> None:
    for _ in range(steps):
        with pace.stepping():
            machine.now += seconds


def test_steps_fit_into_what_evaluations_leave() -> None:
    """A hundred seconds at a second a step, less two evaluations and one at the end."""
    machine = Machine()
    pace = Pace(clock=machine)
    run(pace, machine, 20, 1.0)
    with pace.evaluating():
        machine.now += 5

    assert pace.calibrated
    assert pace.elapsed == 25
    assert pace.steps_that_fit(100, 3) == 85


def test_a_plan_waits_for_three_seconds_or_for_twenty_steps() -> None:
    """And for three steps in any case: the first ones are slow."""
    moments = []
    for seconds in (0.01, 1.0, 10.0):
        machine = Machine()
        pace = Pace(clock=machine)
        while not pace.calibrated:
            run(pace, machine, 1, seconds)
        moments.append(round(machine.now / seconds))

    assert moments == [20, 3, 3]


def test_overhead_between_steps_counts() -> None:
    """Painting and saving take their share of every step to come."""
    machine = Machine()
    pace = Pace(clock=machine)
    for _ in range(10):
        run(pace, machine, 1, 1.0)
        machine.now += 1

    assert pace.steps_that_fit(100, 0) == 50


def test_one_slow_evaluation_does_not_end_the_run() -> None:
    """However long it took, most of the time that is left stays for steps."""
    machine = Machine()
    pace = Pace(clock=machine)
    run(pace, machine, 10, 1.0)
    with pace.evaluating():
        machine.now += 1000

    assert pace.steps_that_fit(100, 25) == int(100 * (1 - MOST_RESERVED))
    assert pace.least_interval() == 10_000


def test_a_resumed_run_has_its_earlier_time_behind_it() -> None:
    """`spent` counts towards the budget, not towards the speed."""
    machine = Machine()
    pace = Pace(spent=50, clock=machine)
    run(pace, machine, 10, 1.0)

    assert pace.elapsed == 60
    assert pace.steps_that_fit(40, 0) == 40


def test_a_plan_is_kept_while_it_nearly_fits() -> None:
    """Three per cent either way is no reason to change it."""
    assert plan_holds(1000, 975)
    assert not plan_holds(1000, 950)
    assert not plan_holds(1000, 1050)
