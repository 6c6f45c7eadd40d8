"""Plan the steps and validations of a run, by count or by --minutes."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

SMOOTHING = 0.95  # weight of the past in the mean time of a step
CALIBRATION_SECONDS = 3.0  # how long speed is measured before the first plan
CALIBRATION_STEPS = 3  # the first steps are slow; fewer say nothing
ENOUGH_STEPS = 20  # of which a plan can be made before so many seconds
EVALUATIONS = 20  # in a run, where nobody says after how many steps
MOST_EVALUATING = 0.1  # time of evaluations, as a share of that of steps
MOST_RESERVED = 0.3  # share of the time left that evaluations may claim, however slow one was
DEADBAND = 0.03  # a plan moves only if it would miss the budget by more than this share


class Pace:
    """Times steps and evaluations; everything else (saving, painting) counts as overhead.

    `spent` is the time, in seconds, that a resumed run had already used.
    """

    def __init__(self, spent: float = 0.0, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._spent = spent
        self._begin = clock()
        self._stepping = 0.0
        self._steps = 0
        self._evaluating = 0.0
        self.step_seconds = 0.0
        self.evaluation_seconds = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far, earlier sessions included."""
        return self._spent + self._clock() - self._begin

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Time the training step inside the block."""
        begin = self._clock()
        yield
        seconds = self._clock() - begin
        self._stepping += seconds
        self._steps += 1
        keep = SMOOTHING if self._steps > CALIBRATION_STEPS else 0.0
        self.step_seconds = keep * self.step_seconds + (1 - keep) * seconds

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Time the evaluation inside the block."""
        begin = self._clock()
        yield
        self.evaluation_seconds = self._clock() - begin
        self._evaluating += self.evaluation_seconds

    @property
    def calibrated(self) -> bool:
        """Whether enough has been measured for a plan."""
        long_enough = self._stepping >= CALIBRATION_SECONDS or self._steps >= ENOUGH_STEPS
        return self._steps >= CALIBRATION_STEPS and long_enough

    def steps_that_fit(self, seconds: float, evaluations: int) -> int:
        """Further steps that fit into `seconds` from now, so many evaluations between them."""
        session = self._clock() - self._begin
        overhead = (session - self._stepping - self._evaluating) / max(1, self._steps)
        wanted = evaluations * self.evaluation_seconds
        room = seconds - min(wanted, MOST_RESERVED * seconds)
        return max(0, int(room / (self.step_seconds + overhead)))

    def evaluation_interval(self, steps: int, given: int | None, *, timed: bool) -> int:
        """Steps between the evaluations of a run of so many, if none are `given`.

        They depend on the clock only where the run is `timed`.
        """
        return given or max(1, steps // EVALUATIONS, self.least_interval() if timed else 1)

    def least_interval(self) -> int:
        """The fewest steps between evaluations at which these take but a small share."""
        if not self.step_seconds:
            return 1
        return math.ceil(self.evaluation_seconds / (MOST_EVALUATING * self.step_seconds))


def plan_holds(planned: int, fitting: int) -> bool:
    """Whether a plan of so many steps still fits closely enough to be kept."""
    return abs(planned - fitting) <= DEADBAND * planned
