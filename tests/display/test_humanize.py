"""Numbers formatted for people."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.display import humanize


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [(0, "0 B"), (812, "812 B"), (12_345, "12.3 kB"), (999_960, "1.0 MB"), (27_000_000, "27.0 MB")],
)
def test_size_is_in_powers_of_1000(bytes_, text):
    """A size has one decimal and at most three digits before it."""
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
def test_duration_has_at_most_two_units(seconds, text):
    """Long durations are less precise; unknown durations are a question mark."""
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
def test_compact_omits_a_zero_decimal(number, text):
    """A compact number has one decimal, unless it is zero."""
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
def test_figure_has_about_four_digits(value, text):
    """Large values have fewer decimals, and a missing value is a dash."""
    assert humanize.figure(value) == text


@given(st.floats())
def test_every_number_is_formatted_in_few_characters(number):
    """No float raises an error or gives a long text."""
    assert len(humanize.figure(number)) <= 10
    assert len(humanize.compact(number)) <= 24 or abs(number) > 1e18


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.0, "0.0%"),
        (0.9221, "92.2%"),
        (0.99991, "99.99%"),
        (0.9999999, "99.99999%"),
        (1.0, "100%"),
    ],
)
def test_percent_is_100_only_of_all(fraction, text):
    """A fraction below 1 has as many decimals as it needs."""
    assert humanize.percent(fraction) == text


def test_figure_says_which_part_of_the_text_it_covers():
    """Nothing if it covers all of it, or if that is not known."""
    partial = "1.5 bits/char (covers 92.2% of the characters)"
    assert humanize.covering("1.5 bits/char", 0.922) == partial
    for whole in (1.0, None, math.nan, "no number"):
        assert humanize.covering("1.5 bits/char", whole) == "1.5 bits/char"


def test_rate_has_its_unit():
    """A rate is a compact number, a unit and `/s`."""
    assert humanize.rate(58_900, "tok") == "58.9k tok/s"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.25, "0.25"), (500, "500"), (1250, "1.25k"), (1_750_000, "1.75M"), (2000, "2k")],
)
def test_exact_keeps_all_decimals(number, text):
    """Ticks at 1250 and 1750 are not rounded to one decimal."""
    assert humanize.exact(number) == text
