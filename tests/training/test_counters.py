"""Counters of a run: mean loss, best validation, limits."""

import math

import pytest
from pydantic import ValidationError

from charnn.training.counters import Counters


def test_mean_loss_since_the_last_call() -> None:
    """Overflowed losses are excluded; without a step the mean is NaN."""
    counters = Counters()
    for loss in (1.0, math.inf, 3.0):
        counters.count_step(loss, 10)

    assert (counters.step, counters.tokens) == (3, 30)
    assert counters.take_mean_loss() == 2
    assert math.isnan(counters.take_mean_loss())


def test_best_validation_has_the_lowest_loss() -> None:
    """An equal loss and NaN are not better; validations since the best are counted."""
    counters, found = Counters(), []
    for loss in (2.0, 2.0, math.nan, 1.0, 3.0):
        counters.count_step(loss, 1)
        found.append(counters.count_evaluation(loss))

    assert found == [True, False, False, True, False]
    assert (counters.best_loss, counters.best_step) == (1.0, 4)
    assert (counters.evaluated_at, counters.evaluations_since_best) == (5, 1)


@pytest.mark.parametrize(
    "wrong", [{"step": -1}, {"step": "1"}, {"best_loss": math.nan}, {"lr_scale": 2.0}, {"x": 1}]
)
def test_counters_out_of_range_are_refused(wrong) -> None:
    """A checkpoint may have been edited."""
    with pytest.raises(ValidationError):
        Counters.model_validate(wrong)
