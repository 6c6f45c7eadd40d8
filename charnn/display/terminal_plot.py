"""Plot curves in a terminal with braille dots, blocks or ASCII."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import set_cell_size

from charnn.display import humanize
from charnn.display.learning_curves import (
    Y_LABELS,
    Curve,
    Line,
    Point,
    XName,
    YName,
    finite,
    mean,
    nice_ticks,
    x_limits,
    x_unit,
    y_limits,
)
from charnn.escape import visible

BLOCKS = "▁▂▃▄▅▆▇█"
COLORS = ("36", "33", "32", "35", "31", "34")  # SGR codes, assigned to the curves in order
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # labels, assigned to the curves in order
MIN_WIDTH, MIN_ROWS = 40, 4  # columns of a plot, rows of its canvas
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # braille, [row][column]


def terminal_curves(
    runs: Sequence[Curve],
    x: XName = "step",
    width: int = 80,
    height: int = 20,
    *,
    y: YName = "loss",
    color: bool = False,
    unicode: bool = True,
) -> str:
    """Return learning curves as `height` lines of at most `width` columns, without a last newline.

    For one run, plot its training and validation curve; for several, the validation curve of each,
    or its training curve if there is no validation. The legend has the closing score of a finished
    run. The plot has at least MIN_WIDTH columns and MIN_ROWS rows.
    """
    width = max(width, MIN_WIDTH)
    names, lines, finals, coverages = _chosen(runs, x, y)
    unit, x_label = x_unit(x, x_limits(lines)[1])
    lines = [[(a / unit, b) for a, b in line] for line in lines]
    rows = max(MIN_ROWS, height - 3 - len(lines))  # 3: title, x axis, tick labels
    frame = _frame(lines, width, rows, color=color, unicode=unicode)
    for i, line in enumerate(lines):
        frame.draw(line, i)
    parts = [
        f"{Y_LABELS[y]} by {x_label}{_covered(coverages)}"[:width],
        *frame.body(lines),
        *frame.axis(),
        *frame.legend(map(_summary, names, lines, finals, itertools.repeat(x_label)), width),
    ]
    return "\n".join(part.rstrip() for part in parts)


def _chosen(
    runs: Sequence[Curve], x: XName, y: YName
) -> tuple[list[str], list[Line], list[float], list[float]]:
    """Return the names, the points, the closing scores and the coverages of the curves to draw."""
    names, lines, finals, coverages = list[str](), list[Line](), list[float](), list[float]()
    for run in runs:
        splits = [split for split in ("train", "val") if finite(run.points(split, x, y))]
        for split in splits if len(runs) == 1 else splits[-1:]:
            names.append(f"{visible(run.name, one_line=True)} {split}")
            lines.append(run.points(split, x, y))
            finals.append(run.final(y) if split == "val" else math.nan)
            coverages.append(run.coverage(y) if split == "val" else 1.0)
    return names, lines, finals, coverages


def _covered(coverages: Sequence[float]) -> str:
    """Return which part of the text some curves cover: " (b covers 92.2% of the characters)"."""
    parts = [
        f"{letter(i)} covers {humanize.percent(coverage)}"
        for i, coverage in enumerate(coverages)
        if humanize.is_partial(coverage)
    ]
    return f" ({', '.join(parts)} of the characters)" if parts else ""


def _frame(lines: Sequence[Line], width: int, rows: int, *, color: bool, unicode: bool) -> "Frame":
    """Return an empty frame for these lines, as wide as the labels of the y axis allow."""
    x_range, y_range = x_limits(lines), y_limits(lines)
    ticks = nice_ticks(*y_range, max(2, rows // 3))
    texts = _tick_labels(ticks)
    margin = max(map(len, texts), default=0)
    canvas = Canvas(width - margin - 4, rows, unicode=unicode)
    labels = {
        canvas.row_at(_fraction(t, *y_range)): f"{text:>{margin}}"
        for t, text in zip(ticks, texts, strict=True)
    }
    return Frame(x_range, y_range, canvas, labels, margin, color)


def _tick_labels(ticks: Sequence[float]) -> list[str]:
    """Return the tick labels, all with the number of decimals that the longest needs."""
    if any(abs(tick) >= 1000 for tick in ticks):  # noqa: PLR2004
        return [humanize.exact(tick) for tick in ticks]
    decimals = max((len(f"{tick:.6g}".partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:.{decimals}f}" for tick in ticks]


def _summary(name: str, line: Line, final: float, x_label: str) -> str:
    """Return the legend of a line: name, last value, lowest value, its position, final score."""
    points = finite(line)
    x, lowest = min(points, key=lambda point: point[1])
    place = f"{humanize.compact(x)} {x_label}" if x_label != "step" else f"step {x:,.0f}"
    summary = (
        f"{name}  {humanize.figure(points[-1][1])}, lowest {humanize.figure(lowest)} at {place}"
    )
    return f"{summary}, final {humanize.figure(final)}" if math.isfinite(final) else summary


class Canvas:
    """A grid of character cells, each of 2 × 4 braille dots, or of one letter in ASCII.

    Dots are counted from the lower left corner. A cell has the color or letter of the curve that
    was drawn into it last.
    """

    def __init__(self, columns: int, rows: int, *, unicode: bool) -> None:
        self.columns, self.rows, self.unicode = columns, rows, unicode
        self._across, self._down = (2, 4) if unicode else (1, 1)  # dots per cell
        self.width, self.height = columns * self._across, rows * self._down  # in dots
        self._cells: dict[tuple[int, int], tuple[int, int]] = {}  # (row, column) → (dots, curve)

    def connect(self, a: Point, b: Point, curve: int) -> None:
        """Draw the line from a to b; coordinates are in dots, and a is left of b.

        In column x, set all dots at the heights of the line between x - 1/2 and x + 1/2, so that
        a steep line has no gaps. Dots outside the canvas are left out.

            ··█
            ·██
            ·█·
            ██·
        """
        slope = (b[1] - a[1]) / (b[0] - a[0]) if b[0] > a[0] else 0.0
        for x in range(int(a[0]), int(b[0]) + 1):
            sides = (max(x - 0.5, a[0]), min(x + 0.5, b[0]))
            ends = sorted(a[1] + slope * (side - a[0]) for side in sides)
            low, high = (round(min(max(end, -1), self.height)) for end in ends)
            for y in range(max(low, 0), min(high, self.height - 1) + 1):
                self._set(x, y, curve)

    def _set(self, x: int, y: int, curve: int) -> None:
        place = self._row_of(y), x // self._across
        dots, _ = self._cells.get(place, (0, curve))
        dot = _DOTS[self._down - 1 - y % self._down][x % self._across] if self.unicode else 1
        self._cells[place] = dots | dot, curve

    def row_at(self, fraction: float) -> int:
        """Return the row, counted from the top, at a fraction of the height from the bottom."""
        return self._row_of(round(min(max(fraction, 0), 1) * (self.height - 1)))

    def _row_of(self, y: int) -> int:
        return self.rows - 1 - y // self._down

    def cell(self, row: int, column: int) -> tuple[str, int | None]:
        """Return the character in a cell and the index of its curve, None for an empty cell."""
        if (row, column) not in self._cells:
            return " ", None
        dots, curve = self._cells[row, column]
        return (chr(0x2800 + dots) if self.unicode else letter(curve)), curve


@dataclass(frozen=True)
class Frame:
    """A canvas with axes; `labels` maps each row with a tick to its label of `margin` columns."""

    x_range: Point
    y_range: Point
    canvas: Canvas
    labels: Mapping[int, str]
    margin: int
    color: bool

    def draw(self, line: Line, curve: int) -> None:
        """Draw a line through the points, with a gap where y is NaN."""
        before: Point | None = None
        for x, y in _one_a_column(line, self.x_range, self.canvas.width):
            height = _fraction(y, *self.y_range) * (self.canvas.height - 1)
            here = (x, height) if math.isfinite(y) else None
            if here:
                self.canvas.connect(before or here, here, curve)
            before = here

    def body(self, lines: Sequence[Line]) -> Iterator[str]:
        """Yield the rows: label, axis, curves, and the letter of a curve that ends there."""
        ends = self._ends(lines)
        plain, tick = ("│", "┤") if self.canvas.unicode else ("|", "+")
        for row in range(self.canvas.rows):
            cells = [self.canvas.cell(row, column) for column in range(self.canvas.columns)]
            stretches = itertools.groupby(cells, key=lambda cell: cell[1])
            content = "".join(
                self._painted("".join(character for character, _ in stretch), curve)
                for curve, stretch in stretches
            )
            end = f" {self._painted(letter(ends[row]), ends[row])}" if row in ends else ""
            label = self.labels.get(row, " " * self.margin)
            yield f"{label} {tick if row in self.labels else plain}{content}{end}"

    def axis(self) -> tuple[str, str]:
        """Return the x axis with its ticks, and the line of tick labels below it."""
        canvas = self.canvas
        corner, dash, mark = ("└", "─", "┬") if canvas.unicode else ("+", "-", "+")
        axis, below = [corner, *dash * canvas.columns], ""
        ticks = nice_ticks(*self.x_range, max(2, canvas.columns // 12))
        for tick, label in zip(ticks, _tick_labels(ticks), strict=True):
            column = 1 + round(_fraction(tick, *self.x_range) * (canvas.columns - 1))
            axis[column] = mark
            begin = min(max(0, column - len(label) // 2), len(axis) - len(label))
            if begin >= len(below):  # else it would overlap the previous label
                below = f"{below:<{begin}}{label} "
        indent = " " * (self.margin + 1)
        return indent + "".join(axis), indent + below

    def legend(self, summaries: Iterable[str], width: int) -> list[str]:
        """Return a line per curve: its letter and its summary, cut to `width` columns."""
        return [
            f"{self._painted(letter(i), i)}  {set_cell_size(summary, width - 3)}"
            for i, summary in enumerate(summaries)
        ]

    def _ends(self, lines: Sequence[Line]) -> dict[int, int]:
        """Map rows to the curve whose letter they show: where it ends, or the nearest free row."""
        ends: dict[int, int] = {}
        for i, line in enumerate(lines):
            _, y = finite(line)[-1]
            row = self.canvas.row_at(_fraction(y, *self.y_range))
            nearest = sorted(range(self.canvas.rows), key=lambda other: abs(other - row))
            free = [other for other in nearest if other not in ends]
            if free:
                ends[free[0]] = i
        return ends

    def _painted(self, text: str, curve: int | None) -> str:
        if not self.color or curve is None:
            return text
        return f"\x1b[{COLORS[curve % len(COLORS)]}m{text}\x1b[0m"


def letter(curve: int) -> str:
    """Return the letter that labels a curve at its end and in the legend."""
    return LETTERS[curve % len(LETTERS)]


def _one_a_column(line: Line, x_range: Point, width: int) -> Iterator[Point]:
    """Yield (column, mean y) for each column of dots that has points; NaN marks a gap."""
    column, values = 0, list[float]()
    for x, y in line:
        here = round(_fraction(x, *x_range) * (width - 1))
        if values and (here != column or math.isnan(y) or math.isnan(values[-1])):
            yield column, mean(values)
            values = []
        column = here
        values.append(y)
    if values:
        yield column, mean(values)


def _fraction(value: float, low: float, high: float) -> float:
    """Return the place of a value between `low`, 0, and `high`, 1."""
    return (value - low) / (high - low) if high > low else 0.0


def sparkline(values: Sequence[float], width: int) -> str:
    """Return `values` in `width` block characters, each the mean of its part of them."""
    bounds = [i * len(values) // width for i in range(width + 1)]
    means = [mean(values[a : max(a + 1, b)]) for a, b in itertools.pairwise(bounds)]
    known = [value for value in means if math.isfinite(value)]
    if not known:
        return " " * width
    low, high = min(known), max(known)
    return "".join(
        BLOCKS[round(_fraction(value, low, high) * (len(BLOCKS) - 1))]
        if math.isfinite(value)
        else " "
        for value in means
    )
