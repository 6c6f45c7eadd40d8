"""Line and bar charts: series, levels, axes, labels, layout."""

import math

import pytest

from charnn.display.charts import Bars, Lines, draw_charts
from charnn.errors import UsageError


def test_lines_and_levels_are_labeled(tmp_path, drawn) -> None:
    """Each series is in the legend, and each level is a line with its name next to it."""
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


def test_values_without_a_logarithm_are_gaps(tmp_path, drawn) -> None:
    """On logarithmic axes, zero and NaN are not drawn and raise no error."""
    series = {"norm": [(1, 1.0), (10, 1e-3), (100, 0.0), (1000, math.nan)]}
    draw_charts([Lines(series, log_x=True, log_y=True)], tmp_path / "lines.png")

    assert drawn[0].axes[0].get_xscale() == drawn[0].axes[0].get_yscale() == "log"


def test_logarithmic_axis_with_few_values_labels_each(tmp_path, drawn) -> None:
    """Every x value gets a plain number as its tick label, and there are no minor ticks."""
    draw_charts(
        [Lines({"a": [(4, 1), (16, 2)], "b": [(2048, 3)]}, log_x=True)], tmp_path / "lines.svg"
    )

    axis = drawn[0].axes[0].xaxis
    assert [label.get_text() for label in axis.get_ticklabels()] == ["4", "16", "2k"]
    assert len(axis.get_minorticklocs()) == 0


def test_lines_differ_in_color_or_style(tmp_path, drawn) -> None:
    """Once all colors are used, further lines are dashed or dotted."""
    draw_charts([Lines({str(i): [(0, i), (1, i)] for i in range(16)})], tmp_path / "lines.svg")

    styles = {(line.get_color(), line.get_linestyle()) for line in drawn[0].axes[0].lines}
    assert len(styles) == 16


def test_bars_are_in_order_and_labeled_with_values(tmp_path, drawn) -> None:
    """The first bar is at the top; names are shown literally, not as formulas."""
    values = {"uniform": 6.02, "5-gram": 1.948, "a $run$ of 100%": 1.7928}
    draw_charts([Bars(values, "ladder", "bits per character")], tmp_path / "ladder.svg")

    (axes,) = drawn[0].axes
    assert [bar.get_width() for bar in axes.patches] == list(values.values())
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["uniform", "5-gram"]
    assert [text.get_text() for text in axes.texts] == ["6.020", "1.948", "1.793"]
    assert axes.yaxis_inverted()


def test_charts_are_drawn_from_left_to_right(tmp_path, drawn) -> None:
    """A picture of two charts is twice as wide as one and of the same height."""
    draw_charts([Lines({"a": [(0, 1)]}, "first"), Bars({"b": 2}, "second")], tmp_path / "two.png")
    draw_charts([Lines({"a": [(0, 1)]})], tmp_path / "one.png")

    two, one = drawn
    assert [axes.get_title(loc="left") for axes in two.axes] == ["first", "second"]
    assert two.get_figwidth() == 2 * one.get_figwidth()
    assert two.get_figheight() == one.get_figheight()
    assert (tmp_path / "two.png").stat().st_size > (tmp_path / "one.png").stat().st_size > 1000


def test_unknown_suffix_is_a_usage_error(tmp_path) -> None:
    """A chart cannot be written as GIF."""
    with pytest.raises(UsageError):
        draw_charts([Bars({"a": 1})], tmp_path / "bars.gif")
