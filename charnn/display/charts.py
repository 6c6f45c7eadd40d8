"""Draw line charts and bar charts as PNG or SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from charnn.display import humanize
from charnn.display.figure import COLORS, GREY, SIZE, columns, literal, picture
from charnn.display.learning_curves import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_TICKS = 12  # at most this many x values on a logarithmic axis get one tick each
MAX_MARKERS = 40  # lines with at most this many points have markers
DASHES = ("-", "--", ":")  # line styles; the next one is used when all colors are taken


@dataclass(frozen=True)
class Lines:
    """A line chart; `levels` are dashed horizontal lines, labeled at the right edge."""

    series: Mapping[str, Line]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    levels: Mapping[str, float] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Bars:
    """A chart of horizontal bars, the first at the top, each labeled with its value."""

    values: Mapping[str, float]
    title: str = ""
    x_label: str = ""


Chart = Lines | Bars


def draw_charts(charts: Sequence[Chart], path: Path) -> None:
    """Draw the charts from left to right in one picture. Raise the errors of `figure.picture`."""
    width, height = SIZE
    with picture(path, (width * len(charts), height)) as figure:
        for column, chart in enumerate(charts, 1):
            axes = figure.add_subplot(1, len(charts), column)
            axes.set_title(literal(chart.title))
            if isinstance(chart, Lines):
                _draw_lines(axes, chart)
            else:
                _draw_bars(axes, chart)


def _draw_lines(axes: "Axes", chart: Lines) -> None:
    for i, (name, line) in enumerate(chart.series.items()):
        axes.plot(
            *columns(line),
            color=COLORS[i % len(COLORS)],
            linestyle=DASHES[i // len(COLORS) % len(DASHES)],
            marker="o" if len(line) <= MAX_MARKERS else "",
            markersize=4,
            linewidth=1.6,
            label=f"\u200b{literal(name)}",  # matplotlib omits labels that begin with _
        )
    axes.set(xlabel=literal(chart.x_label), ylabel=literal(chart.y_label))
    axes.set_xscale("log" if chart.log_x else "linear")
    positions = sorted({x for line in chart.series.values() for x, _ in line if x > 0})
    if chart.log_x and len(positions) <= MAX_TICKS:
        axes.set_xticks(positions, [humanize.compact(x) for x in positions])
        axes.set_xticks([], minor=True)
    axes.set_yscale("log" if chart.log_y else "linear")
    for name, level in chart.levels.items():
        axes.axhline(level, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate(
            literal(name),
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            color=GREY,
            va="center",
        )
    if len(chart.series) > 1:
        axes.legend(frameon=True, framealpha=0.85, edgecolor="none")  # may overlap a level


def _draw_bars(axes: "Axes", chart: Bars) -> None:
    positions = range(len(chart.values))
    axes.grid(visible=False, axis="y")
    bars = axes.barh(positions, list(chart.values.values()), color=COLORS[0], height=0.65)
    axes.bar_label(bars, [humanize.figure(value) for value in chart.values.values()], padding=3)
    axes.set_yticks(positions, [literal(name) for name in chart.values])
    axes.invert_yaxis()
    axes.set(xlabel=literal(chart.x_label))
