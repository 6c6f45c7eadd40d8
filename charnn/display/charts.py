"""Line and bar charts: plain values, and pictures of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from charnn.display import humanize
from charnn.display.figure import COLORS, GREY, SIZE, columns, literal, picture
from charnn.display.learning_curves import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW_TICKS = 12  # most places on a logarithmic axis that get a tick each
FEW = 40  # most points of a line that get a marker each
DASHES = ("-", "--", ":")  # in turn, when the colors are used up


@dataclass(frozen=True)
class Lines:
    """Named lines; `levels` are dashed horizontal lines with their names at the right."""

    series: Mapping[str, Line]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    levels: Mapping[str, float] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Bars:
    """Named values as bars with their figures, the first at the top."""

    values: Mapping[str, float]
    title: str = ""
    x_label: str = ""


Chart = Lines | Bars


def draw_charts(charts: Sequence[Chart], path: Path) -> None:
    """Write the charts into one picture, from left to right. Raises as `figure.picture` does."""
    width, height = SIZE
    with picture(path, (width * len(charts), height)) as figure:
        for place, chart in enumerate(charts, 1):
            axes = figure.add_subplot(1, len(charts), place)
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
            marker="o" if len(line) <= FEW else "",
            markersize=4,
            linewidth=1.6,
            label=f"\u200b{literal(name)}",  # matplotlib omits labels that begin with _
        )
    axes.set(xlabel=literal(chart.x_label), ylabel=literal(chart.y_label))
    axes.set_xscale("log" if chart.log_x else "linear")
    places = sorted({x for line in chart.series.values() for x, _ in line if x > 0})
    if chart.log_x and len(places) <= FEW_TICKS:
        axes.set_xticks(places, [humanize.compact(x) for x in places])
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
        axes.legend(frameon=True, framealpha=0.85, edgecolor="none")  # it may cover a level


def _draw_bars(axes: "Axes", chart: Bars) -> None:
    places = range(len(chart.values))
    axes.grid(visible=False, axis="y")
    drawn = axes.barh(places, list(chart.values.values()), color=COLORS[0], height=0.65)
    axes.bar_label(drawn, [humanize.figure(value) for value in chart.values.values()], padding=3)
    axes.set_yticks(places, [literal(name) for name in chart.values])
    axes.invert_yaxis()
    axes.set(xlabel=literal(chart.x_label))
