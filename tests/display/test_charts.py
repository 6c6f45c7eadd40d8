"""Charts: what is drawn of the values, one beside the other."""

import math

import pytest

from charnn.display.charts import Bars, Lines, draw_charts
from charnn.errors import UsageError


def test_lines_with_levels(tmp_path, drawn) -> None:
    """Each series has its name, each level a dashed line with its name beside it."""
    series = {"n = 5": [(i, 0.66) for i in range(100)], "_10": [(0, 0.66), (100, 0.46)]}
    levels = {"neither": 0.6616, "both": 0.4545}
    draw_charts([Lines(series, "$t$", "step", "nats", levels)], tmp_path / "lines.svg")

    axes = drawn[0].axes[0]
    assert len(axes.lines) == 4
    assert [text.get_text() for text in axes.texts] == ["neither", "both"]
    legend = [text.get_text().strip("\u200b") for text in axes.get_legend().get_texts()]
    assert legend == list(series)
    low, high = axes.get_ylim()
    assert low < levels["both"]
    assert levels["neither"] < high
    assert axes.get_title(loc="left") == r"\$t\$"


def test_lines_on_logarithmic_scales(tmp_path, drawn) -> None:
    """Values that have no logarithm are gaps, not errors."""
    series = {"norm": [(1, 1.0), (10, 1e-3), (100, 0.0), (1000, math.nan)]}
    draw_charts([Lines(series, log_x=True, log_y=True)], tmp_path / "lines.png")

    assert drawn[0].axes[0].get_xscale() == drawn[0].axes[0].get_yscale() == "log"


def test_few_places_on_a_logarithmic_axis_are_named(tmp_path, drawn) -> None:
    """As plain numbers, and nothing between them."""
    draw_charts(
        [Lines({"a": [(4, 1), (16, 2)], "b": [(2048, 3)]}, log_x=True)], tmp_path / "lines.svg"
    )

    axis = drawn[0].axes[0].xaxis
    assert [label.get_text() for label in axis.get_ticklabels()] == ["4", "16", "2k"]
    assert len(axis.get_minorticklocs()) == 0


def test_no_two_lines_look_alike(tmp_path, drawn) -> None:
    """Colours that come back are dashed."""
    draw_charts([Lines({str(i): [(0, i), (1, i)] for i in range(16)})], tmp_path / "lines.svg")

    looks = {(line.get_color(), line.get_linestyle()) for line in drawn[0].axes[0].lines}
    assert len(looks) == 16


def test_bars_stand_in_order_with_their_figures(tmp_path, drawn) -> None:
    """The first name is at the top; a name is shown as it is."""
    values = {"uniform": 6.02, "5-gram": 1.948, "a $run$ of 100%": 1.7928}
    draw_charts([Bars(values, "ladder", "bits per character")], tmp_path / "ladder.svg")

    (axes,) = drawn[0].axes
    assert [bar.get_width() for bar in axes.patches] == list(values.values())
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["uniform", "5-gram"]
    assert [text.get_text() for text in axes.texts] == ["6.020", "1.948", "1.793"]
    assert axes.yaxis_inverted()


def test_charts_stand_side_by_side(tmp_path, drawn) -> None:
    """Two of them make the picture twice as wide."""
    draw_charts([Lines({"a": [(0, 1)]}, "first"), Bars({"b": 2}, "second")], tmp_path / "two.png")
    draw_charts([Lines({"a": [(0, 1)]})], tmp_path / "one.png")

    two, one = drawn
    assert [axes.get_title(loc="left") for axes in two.axes] == ["first", "second"]
    assert two.get_figwidth() == 2 * one.get_figwidth()
    assert two.get_figheight() == one.get_figheight()
    assert (tmp_path / "two.png").stat().st_size > (tmp_path / "one.png").stat().st_size > 1000


def test_another_suffix_is_refused(tmp_path) -> None:
    """As for every picture."""
    with pytest.raises(UsageError):
        draw_charts([Bars({"a": 1})], tmp_path / "bars.gif")
