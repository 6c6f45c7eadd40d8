"""Learning curves and sparklines drawn as text."""

import math

from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from charnn.display.learning_curves import Curve
from charnn.display.terminal_plot import BLOCKS, MIN_WIDTH, sparkline, terminal_curves


def _curve(name="run", steps=100, split="val", loss=lambda step: 2.0 - step / 100):
    rows = [{"split": split, "step": i, "loss": loss(i)} for i in range(steps + 1)]
    return Curve(name, rows)


def test_one_curve_in_ascii():
    """The complete plot: title, ticks, a line from corner to corner, legend."""
    picture = terminal_curves([_curve()], width=44, height=12, unicode=False)
    assert picture.split("\n") == [
        "loss (nats per token) by step",
        "2 +aaa",
        "  |  aaaaaaa",
        "  |        aaaaaaa",
        "  |              aaaaaa",
        "  |                   aaaaaaa",
        "  |                         aaaaaaa",
        "  |                               aaaaaaa",
        "1 +                                     aa a",
        "  ++------------------+------------------+",
        "   0                 50                100",
        "a  run val  1.000, lowest 1.000 at step 100",
    ]


def test_one_curve_in_braille():
    """The same plot with 2 × 4 dots per character."""
    assert terminal_curves([_curve()], width=44, height=12).split("\n") == [
        "loss (nats per token) by step",
        "2 ┤⠒⠦⢤⣀",
        "  │   ⠈⠉⠓⠦⢤⣀⡀",
        "  │         ⠉⠙⠲⠤⣄⡀",
        "  │              ⠉⠙⠒⠦⢤⣀",
        "  │                   ⠈⠉⠓⠲⢤⣀⡀",
        "  │                         ⠉⠙⠲⠤⣄⣀",
        "  │                              ⠈⠙⠒⠦⢤⣀",
        "1 ┤                                   ⠈⠉⠓⠲ a",
        "  └┬──────────────────┬──────────────────┬",
        "   0                 50                100",
        "a  run val  1.000, lowest 1.000 at step 100",
    ]


def test_title_says_which_part_of_the_text_bits_cover():
    """Of the curves that do not cover all of it; the loss has no such part."""
    rows = [
        {"split": "val", "step": i, "loss": 2.0, "bits_per_char": 2.0, "coverage": 0.9}
        for i in (1, 2)
    ]
    whole = [{**row, "coverage": 1.0} for row in rows]
    runs = [Curve("whole", whole), Curve("words", rows), Curve("old", [{**rows[0], "coverage": 1}])]
    bits = terminal_curves(runs, y="bits_per_char").partition("\n")[0]
    loss = terminal_curves(runs).partition("\n")[0]

    assert bits == "bits per character by step (b covers 90.0% of the characters)"
    assert loss == "loss (nats per token) by step"


def test_gaps_interrupt_a_line():
    """Columns of null or missing values stay empty."""
    gap = _curve(loss=lambda step: None if 40 <= step <= 60 else 1.0)
    picture = terminal_curves([gap], width=60, height=8, unicode=False).split("\n")
    assert picture[2] == "1 +" + "a" * 22 + " " * 11 + "a" * 22 + " a"


def test_one_run_shows_both_splits_and_several_runs_one_each():
    """One run: training and validation. Several: validation, or training without it."""
    both = Curve("a", [*_curve().rows, *_curve(split="train").rows])
    assert terminal_curves([both]).count(" train ") == 1
    assert terminal_curves([both]).count(" val ") == 1
    several = terminal_curves([both, _curve("b", split="train")])
    assert "a val" in several
    assert "b train" in several
    assert "a train" not in several


def test_color_codes_only_if_requested():
    """Color adds codes and leaves the characters unchanged."""
    runs = [_curve("a"), _curve("b", loss=lambda step: 1.5)]
    plain = terminal_curves(runs)
    colored = terminal_curves(runs, color=True)
    assert "\x1b" not in plain
    assert "\x1b[36m" in colored
    for code in ("\x1b[36m", "\x1b[33m", "\x1b[0m"):
        colored = colored.replace(code, "")
    assert colored == plain


def test_control_characters_in_run_names_are_escaped():
    """A run name is a folder name and may contain anything."""
    assert "\x1b" not in terminal_curves([_curve("\x1b[2J\n唐诗")])


VALUES = st.one_of(st.none(), st.floats(), st.floats(0, 10))


@example([[1.0, 2.2e-313]], 80, 20, False)  # a subnormal value
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(VALUES, max_size=50), max_size=4),
    st.integers(1, 150),
    st.integers(1, 40),
    st.booleans(),
)
def test_plot_fits_into_width_and_height(losses, width, height, unicode):
    """For any logged values, lines are no longer and no more than requested."""
    runs = [
        Curve(f"run{i}", [{"split": "val", "step": s, "loss": y} for s, y in enumerate(values)])
        for i, values in enumerate(losses)
    ]
    picture = terminal_curves(runs, "step", width, height, unicode=unicode)
    lines = picture.split("\n")
    assert len(lines) <= max(height, 4 + 3 + len(runs))
    assert max(map(cell_len, lines)) <= max(width, MIN_WIDTH)
    assert unicode or picture.isascii()


def test_sparkline_maps_values_to_block_heights():
    """The highest value is the full block, the lowest the smallest; a gap is a space."""
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8) == BLOCKS[::-1]
    assert sparkline([3.0], 4) == "▁▁▁▁"
    assert sparkline([], 4) == "    "
    assert sparkline([1.0, math.nan, 2.0], 3) == "▁ █"


@given(st.lists(st.floats()), st.integers(1, 40))
def test_sparkline_has_the_requested_width(values, width):
    """The width does not depend on the number of values, finite or not."""
    assert len(sparkline(values, width)) == width


def test_ticks_are_exact():
    """A tick at 1750 is 1.75k, not 1.8k."""
    picture = terminal_curves([_curve(steps=1900, loss=lambda step: 2.0)], width=110)
    assert picture.split("\n")[-2].split() == [
        "0",
        "250",
        "500",
        "750",
        "1k",
        "1.25k",
        "1.5k",
        "1.75k",
    ]


def test_the_legend_ends_with_the_final_score():
    """It is the number that `charnn info` and `charnn eval` show."""
    final = {"split": "val", "step": 100, "loss": 1.25, "perplexity": 3.49, "final": True}
    run = Curve("run", [*_curve().rows, final])
    assert terminal_curves([run]).endswith("lowest 1.000 at step 100, final 1.250")


def test_y_chooses_the_value():
    """Perplexity and bits per character come from the log."""
    rows = [{"split": "val", "step": i, "loss": 1.0, "perplexity": 2.7 + i} for i in range(5)]
    picture = terminal_curves([Curve("run", rows)], y="perplexity")
    assert picture.startswith("perplexity by step")
    assert "lowest 2.700 at step 0" in picture
