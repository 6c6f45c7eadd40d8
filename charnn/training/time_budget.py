"""Plan the steps and validations of a run, by a number of steps or by --minutes.

With --minutes, the speed of the machine is measured first. Then the number of steps is planned, and
planned again if the speed changes.
"""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# benchmarks/budget.py checks that with these numbers a run takes its minutes within 5 %.
STARTUP_RESERVE = 1.0  # seconds for starting Python and for the final output
SMOOTHING = 0.95  # decay of the moving average of the step time
CALIBRATION_SECONDS = 3.0  # seconds of training before the first plan
CALIBRATION_STEPS = 3  # minimum steps before the first plan, because the first ones are slow
ENOUGH_STEPS = 20  # steps after which the first plan does not wait for CALIBRATION_SECONDS
EVALUATIONS = 20  # validations of a run without --eval-every
MAX_EVALUATING = 0.1  # maximum time of validations as a fraction of the time of steps
MAX_RESERVED = 0.3  # maximum fraction of the remaining time reserved for validations
# Fractions of --minutes between which the speed of training is compared with the benchmark. A run
# that starts again loses at least the first; at 5 minutes that is 0.003 nats.
CHECK_FROM, CHECK_UNTIL = 0.06, 0.1
DEADBAND = 0.03  # relative change of the steps below which the plan is kept
LATEST_WEIGHT = 0.3  # weight of the latest validation in the moving average of their time
MAX_FINAL = 0.5  # maximum fraction of --minutes for the final evaluation

# A validation during training reads this fraction of the tokens trained on, so that twenty of them
# read 15 % as many tokens as training, and at least MIN_VALIDATED tokens, whose loss has a standard
# error of 0.015 nats (benchmarks/README.md, validation.py).
VALIDATED_FRACTION = 0.0075
MIN_VALIDATED = 8192


@dataclass(frozen=True)
class ValidationCost:
    """The number of tokens that validations read.

    `split` is the size of the validation split, `warm_up` the number of tokens that its streams
    read before the first scored token, `final` the total of the final evaluation.
    """

    split: int = 0
    warm_up: int = 0
    final: int = 0

    def fraction(self, planned_tokens: float) -> float:
        """Return the fraction of the split per validation, for a training on `planned_tokens`."""
        wanted = max(MIN_VALIDATED, VALIDATED_FRACTION * planned_tokens)
        return min(1.0, wanted / max(1, self.split))

    def final_in_validations(self, fraction: float) -> float:
        """Return the cost of the final evaluation in units of a validation of this fraction."""
        tokens = fraction * self.split + self.warm_up
        return self.final / tokens if tokens else 0.0


class TimeBudget:
    """The plan of a run: number of steps, validation interval, size of the final evaluation.

    `steps` is None until a run with `minutes` has measured its speed. `fraction` is the part of
    the validation split that each validation reads. Without `minutes` the plan does not depend on
    the clock.
    """

    def __init__(
        self,
        *,
        steps: int | None = None,
        minutes: float | None = None,
        eval_every: int | None = None,
        cost: ValidationCost | None = None,
        planned_tokens: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.steps = steps
        self.minutes = minutes
        self.cost = cost or ValidationCost()
        self.expect_tokens(planned_tokens)
        self.validation_seconds = 0.0  # per validation of one set of weights
        self._seconds = 60 * minutes if minutes is not None else math.inf
        self._eval_every = eval_every
        self._clock = clock
        self.speed_is_checked = minutes is None
        self.start(0.0)

    def expect_tokens(self, planned_tokens: float) -> None:
        """Choose the fraction per validation for a training on this number of tokens."""
        self.fraction = self.cost.fraction(planned_tokens)

    def start(self, spent: float) -> None:
        """Start the clock; `spent` is the duration of earlier sessions in seconds."""
        self._spent, self._begin = spent, self._clock()
        self._steps_timed = 0
        self._early_steps: list[float] = []  # seconds of each step until the speed is checked
        self._stepping = self._evaluating = 0.0
        self.step_seconds = self._evaluation_seconds = 0.0

    @property
    def elapsed(self) -> float:
        """Return the seconds of the run so far, including earlier sessions."""
        return self._spent + self._clock() - self._begin

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Measure the time of the training step in the block."""
        begin = self._clock()
        yield
        seconds = self._clock() - begin
        self._stepping += seconds
        self._steps_timed += 1
        if not self.speed_is_checked:
            self._early_steps.append(seconds)
        keep = SMOOTHING if self._steps_timed > CALIBRATION_STEPS else 0.0
        self.step_seconds = keep * self.step_seconds + (1 - keep) * seconds

    @contextlib.contextmanager
    def evaluating(self, weights: int = 1) -> Iterator[None]:
        """Measure the time of the validation in the block, of one or two sets of weights."""
        begin = self._clock()
        yield
        self._evaluation_seconds = self._clock() - begin
        self._evaluating += self._evaluation_seconds
        seconds = self._evaluation_seconds / weights
        before = self.validation_seconds or seconds
        self.validation_seconds = before + LATEST_WEIGHT * (seconds - before)

    def check_speed(self) -> float | None:
        """Return the median seconds of the steps so far, once, when the speed is to be checked."""
        fraction = self.elapsed / self._seconds
        if self.speed_is_checked or fraction < CHECK_FROM or not self._is_calibrated:
            return None
        self.speed_is_checked = True
        return statistics.median(self._early_steps) if fraction <= CHECK_UNTIL else None

    @property
    def must_plan(self) -> bool:
        """Return whether the first plan is due: the speed is known, or the time is over."""
        if self.steps is not None:
            return False
        return self._is_calibrated or self.elapsed >= self._seconds - STARTUP_RESERVE

    def plan(self, step: int) -> None:
        """Set or correct the number of steps after `step`, if the budget is in minutes."""
        ready = self.must_plan if self.steps is None else self._is_calibrated
        if self.minutes is None or step == self.steps or not ready:
            return
        final = self._final_validations * self.validation_seconds * self.final_fraction
        left = self._seconds - STARTUP_RESERVE - self.elapsed - final
        rough = step + self._steps_that_fit(left, 0)
        evaluations = (rough - step) // self._evaluation_interval(rough)
        steps = step + self._steps_that_fit(left, evaluations)
        if self.steps is None or abs(self.steps - steps) > DEADBAND * self.steps:
            self.steps = steps

    def plan_at_speed(self, step: int, seconds: float) -> None:
        """Plan a resumed run by its earlier speed, `step` steps in `seconds`."""
        if self.minutes is not None and step:
            fitting = step * (self._seconds - STARTUP_RESERVE) / max(seconds, 1e-3)
            self.steps = max(step + 1, int(fitting))

    def evaluation_is_due(self, step: int, evaluated_at: int) -> bool:
        """Return whether to validate after `step`; the last validation was at `evaluated_at`."""
        if self.steps is None or evaluated_at == step:
            return False
        every = self._evaluation_interval(self.steps)
        # With minutes the interval can change, so that a step may not be a multiple of it.
        timed = self.minutes is not None
        due = step - evaluated_at >= every if timed else step % every == 0
        return due or step == self.steps

    @property
    def final_fraction(self) -> float:
        """Return the fraction of the final evaluation that fits into its part of --minutes."""
        wanted = self._final_validations * self.validation_seconds
        return min(1.0, MAX_FINAL * self._seconds / wanted) if wanted else 1.0

    @property
    def _final_validations(self) -> float:
        return self.cost.final_in_validations(self.fraction)

    @property
    def _is_calibrated(self) -> bool:
        long_enough = self._stepping >= CALIBRATION_SECONDS or self._steps_timed >= ENOUGH_STEPS
        return self._steps_timed >= CALIBRATION_STEPS and long_enough

    def _steps_that_fit(self, seconds: float, evaluations: int) -> int:
        """Return the number of steps that fit into `seconds`, with this number of validations."""
        session = self._clock() - self._begin
        overhead = (session - self._stepping - self._evaluating) / max(1, self._steps_timed)
        wanted = evaluations * self._evaluation_seconds
        room = seconds - min(wanted, MAX_RESERVED * seconds)
        return max(0, int(room / (self.step_seconds + overhead)))

    def _evaluation_interval(self, steps: int) -> int:
        """Return the number of steps between validations of a run of `steps`."""
        if self._eval_every:
            return self._eval_every
        least = 1
        if self.minutes is not None and self.step_seconds:
            least = math.ceil(self._evaluation_seconds / (MAX_EVALUATING * self.step_seconds))
        return max(1, steps // EVALUATIONS, least)
