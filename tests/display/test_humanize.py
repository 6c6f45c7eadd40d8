import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.display import humanize


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [(0, "0 B"), (812, "812 B"), (12_345, "12.3 kB"), (999_960, "1.0 MB"), (27_000_000, "27.0 MB")],
)
def test_sizes_are_in_powers_of_a_thousand(bytes_, text):
    """A size has one decimal, and never four digits before it."""
    assert humanize.size(bytes_) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (0.44, "0.4 s"),
        (0.97, "1 s"),
        (59.6, "1 m 00 s"),
        (80, "1 m 20 s"),
        (7_500, "2 h 05 m"),
        (273_600, "3 d 04 h"),
        (math.inf, "?"),
        (math.nan, "?"),
    ],
)
def test_durations_have_two_units_at_most(seconds, text):
    """A duration is as precise as its size deserves."""
    assert humanize.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (950, "950"),
        (58_900, "58.9k"),
        (2_000_000, "2M"),
        (math.inf, "inf"),
    ],
)
def test_compact_numbers_drop_an_empty_decimal(number, text):
    """A number in little room keeps a decimal only if there is one."""
    assert humanize.compact(number) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (1.6021, "1.602"),
        (52.13, "52.1"),
        (1204.3, "1,204"),
        (2.5e9, "2.50e+09"),
    ],
)
def test_figures_are_as_precise_as_their_size_deserves(value, text):
    """A figure never fills more than eight columns or so, and what is missing is a dash."""
    assert humanize.figure(value) == text


@given(st.floats())
def test_every_number_has_a_short_text(number):
    """No number, however odd, is refused or long."""
    assert len(humanize.figure(number)) <= 10
    assert len(humanize.compact(number)) <= 24 or abs(number) > 1e18


def test_a_rate_names_its_unit():
    """In powers of 1000."""
    assert humanize.rate(58_900, "tok") == "58.9k tok/s"
