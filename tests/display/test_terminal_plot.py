import math

from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from charnn.display.learning_curves import Curve
from charnn.display.terminal_plot import BLOCKS, LEAST_WIDTH, sparkline, terminal_curves


def _curve(name="run", steps=100, split="val", loss=lambda step: 2.0 - step / 100):
    rows = [{"split": split, "step": i, "loss": loss(i)} for i in range(steps + 1)]
    return Curve(name, rows)


def test_one_curve_in_letters():
    """The whole picture, exactly: title, ticks, the line from corner to corner, the key."""
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
    """The same picture, with two by four dots to a character."""
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


def test_gaps_interrupt_a_line():
    """A null or missing value leaves its columns empty; nothing is drawn across."""
    gap = _curve(loss=lambda step: None if 40 <= step <= 60 else 1.0)
    picture = terminal_curves([gap], width=60, height=8, unicode=False).split("\n")
    assert picture[2] == "1 +" + "a" * 22 + " " * 11 + "a" * 22 + " a"


def test_one_run_shows_both_splits_several_runs_one_each():
    """Training and validation of a single run; of several, only what compares them."""
    both = Curve("a", [*_curve().rows, *_curve(split="train").rows])
    assert terminal_curves([both]).count(" train ") == 1
    assert terminal_curves([both]).count(" val ") == 1
    several = terminal_curves([both, _curve("b", split="train")])
    assert "a val" in several
    assert "b train" in several
    assert "a train" not in several


def test_colour_only_when_asked_for():
    """Without colour there is no escape code; with it, the same characters."""
    runs = [_curve("a"), _curve("b", loss=lambda step: 1.5)]
    plain = terminal_curves(runs)
    coloured = terminal_curves(runs, color=True)
    assert "\x1b" not in plain
    assert "\x1b[36m" in coloured
    for code in ("\x1b[36m", "\x1b[33m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain


def test_a_name_steers_no_terminal():
    """Names of runs are folders, and folders can be called anything."""
    assert "\x1b" not in terminal_curves([_curve("\x1b[2J\n唐诗")])


VALUES = st.one_of(st.none(), st.floats(), st.floats(0, 10))


@example([[1.0, 2.2e-313]], 80, 20, False)  # a range that floats can hardly hold
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(VALUES, max_size=50), max_size=4),
    st.integers(1, 150),
    st.integers(1, 40),
    st.booleans(),
)
def test_every_picture_fits(losses, width, height, unicode):
    """Whatever was logged, no line is longer, nor are there more, than asked for."""
    runs = [
        Curve(f"run{i}", [{"split": "val", "step": s, "loss": y} for s, y in enumerate(values)])
        for i, values in enumerate(losses)
    ]
    picture = terminal_curves(runs, "step", width, height, unicode=unicode)
    lines = picture.split("\n")
    assert len(lines) <= max(height, 4 + 3 + len(runs))
    assert max(map(cell_len, lines)) <= max(width, LEAST_WIDTH)
    assert unicode or picture.isascii()


def test_a_sparkline_goes_from_full_to_empty():
    """Highest and lowest value are the highest and lowest block; order is kept."""
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8) == BLOCKS[::-1]
    assert sparkline([3.0], 4) == "▁▁▁▁"
    assert sparkline([], 4) == "    "
    assert sparkline([1.0, math.nan, 2.0], 3) == "▁ █"


@given(st.lists(st.floats()), st.integers(1, 40))
def test_a_sparkline_has_its_width(values, width):
    """However many values there are, finite or not."""
    assert len(sparkline(values, width)) == width
