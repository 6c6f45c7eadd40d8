"""Points, axis limits and ticks of learning curves."""

import math

from hypothesis import given
from hypothesis import strategies as st

from charnn.display.learning_curves import (
    Curve,
    default_y,
    finite,
    mean,
    nice_ticks,
    x_limits,
    x_unit,
    y_limits,
)

FINITE = st.floats(-1e12, 1e12)


def test_points_are_the_rows_of_one_split_with_nan_for_gaps():
    """Missing, null and non-finite values are NaN; rows without x are left out."""
    rows = [
        {"split": "train", "step": 1, "loss": 3.0},
        {"split": "val", "step": 1, "loss": 9.0},
        {"split": "train", "step": 2, "loss": None},
        {"split": "train", "step": 3},
        {"split": "train", "loss": 2.0},
        {"split": "train", "step": 4, "loss": math.inf},
        {"split": "train", "step": 5, "loss": 1},
    ]
    points = Curve("run", rows).points("train", "step")
    assert [x for x, _ in points] == [1, 2, 3, 4, 5]
    assert [y for _, y in points if math.isfinite(y)] == [3.0, 1.0]
    assert finite(points) == [(1.0, 3.0), (5.0, 1.0)]


def test_mean_ignores_gaps():
    """NaN is not counted, and the mean of no values is NaN."""
    assert mean([1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(mean([math.nan]))


def test_long_times_are_shown_in_minutes_or_hours():
    """The unit depends on the length of the run; steps and tokens have no unit."""
    assert x_unit("seconds", 100) == (1, "seconds")
    assert x_unit("seconds", 1000) == (60, "minutes")
    assert x_unit("seconds", 10_000) == (3600, "hours")
    assert x_unit("step", 10_000) == (1, "step")


def test_steep_start_may_be_cut_off_at_the_top():
    """The limits are those of the curve after the first 2 % of the x range."""
    line = [(float(i), 10.0 if i < 2 else 2.0 - i / 1000) for i in range(101)]
    low, high = y_limits([line])
    assert 1.85 < low < 1.9
    assert 2.0 < high < 2.01


def test_limits_exist_without_values():
    """An empty plot has axes, and a single value has a margin."""
    assert y_limits([]) == (0.0, 1.0)
    assert x_limits([]) == (0.0, 1.0)
    low, high = y_limits([[(1.0, 2.0)]])
    assert low < 2.0 < high


@given(FINITE, FINITE, st.integers(1, 12))
def test_ticks_are_few_sorted_and_within_the_range(low, high, most):
    """There are at most as many ticks as requested, and none is outside the range."""
    ticks = nice_ticks(low, high, most)
    assert len(ticks) <= most
    tolerance = 1e-6 * abs(high - low)
    assert all(low - tolerance <= tick <= high + tolerance for tick in ticks)
    assert ticks == sorted(ticks)


def test_ticks_of_common_ranges():
    """The distance of ticks is 1, 2, 2.5 or 5 times a power of ten."""
    assert nice_ticks(0, 6400, 6) == [0, 2000, 4000, 6000]
    assert nice_ticks(1.4, 2.6, 4) == [1.5, 2.0, 2.5]
    assert nice_ticks(1, 1, 4) == []


def test_the_final_row_is_a_score_and_not_a_point():
    """It is the score of the best model, which may be of an earlier step."""
    rows = [
        {"split": "val", "step": 10, "loss": 2.0, "bits_per_char": 1.0},
        {"split": "val", "step": 20, "loss": 2.5, "bits_per_char": 1.25},
        {"split": "val", "step": 20, "loss": 2.1, "bits_per_char": 1.05, "final": True},
    ]
    curve = Curve("run", rows)
    assert curve.points("val", "step") == [(10, 2.0), (20, 2.5)]
    assert (curve.final(), curve.final("bits_per_char")) == (2.1, 1.05)
    assert math.isnan(Curve("old", rows[:2]).final())


def test_runs_of_different_tokenizers_compare_in_bits_per_char():
    """Nats per token compare only if tokens are equally long."""
    char = Curve("c", [{"split": "train", "step": 1, "loss": 2.0, "bits_per_char": 2.885}])
    other = Curve("d", [{"split": "train", "step": 1, "loss": 1.0, "bits_per_char": 1.4425}])
    words = Curve("w", [{"split": "train", "step": 1, "loss": 6.0, "bits_per_char": 1.6}])
    assert default_y([char, other]) == default_y([words]) == default_y([]) == "loss"
    assert default_y([char, words]) == "bits_per_char"


def test_runs_of_different_coverage_compare_in_bits_per_char_of_all():
    """Loss and bits per char leave unknown characters out, which makes the worse model look better.

    Coverages of parts of one text are nearly equal, and older runs lack the value.
    """
    row = {"split": "val", "step": 1, "loss": 2.0, "bits_per_char": 2.0, "bits_per_char_all": 2.0}
    runs = {covered: Curve("r", [{**row, "coverage": covered}]) for covered in (1.0, 0.9999, 0.9)}
    old = Curve("old", [{**row, "bits_per_char_all": None, "coverage": 1.0}])
    assert default_y([runs[1.0], runs[0.9]]) == "bits_per_char_all"
    assert default_y([runs[0.9]]) == default_y([runs[1.0], runs[0.9999]]) == "loss"
    assert default_y([old, runs[0.9]]) == "loss"
