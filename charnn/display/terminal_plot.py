"""Plot curves in a terminal with braille dots, blocks or ASCII."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from rich.cells import set_cell_size

from charnn.display import humanize
from charnn.display.learning_curves import (
    Curve,
    Line,
    Point,
    XName,
    finite,
    mean,
    nice_ticks,
    x_limits,
    x_unit,
    y_limits,
)
from charnn.escape import visible

BLOCKS = "▁▂▃▄▅▆▇█"
COLORS = ("36", "33", "32", "35", "31", "34")  # SGR codes of the curves, in turn
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # names of the curves, in turn
LEAST_WIDTH, LEAST_ROWS = 40, 4  # of a picture and its canvas, however small the terminal
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # braille, [row][column]


def sparkline(values: Sequence[float], width: int) -> str:
    """`values` from first to last in `width` block characters, each the mean of its share."""
    bounds = [i * len(values) // width for i in range(width + 1)]
    means = [mean(values[a : max(a + 1, b)]) for a, b in itertools.pairwise(bounds)]
    known = [value for value in means if math.isfinite(value)]
    if not known:
        return " " * width
    low, high = min(known), max(known)
    return "".join(
        BLOCKS[round(_share(value, low, high) * (len(BLOCKS) - 1))] if math.isfinite(value) else " "
        for value in means
    )


def _share(value: float, low: float, high: float) -> float:
    """How far up from `low` to `high` a value is."""
    return (value - low) / (high - low) if high > low else 0.0


class Canvas:
    """Curves in character cells: 2 × 4 dots to a cell in braille, one letter in ASCII.

    Where curves cross, the one drawn last gives the cell its colour or letter.
    """

    def __init__(self, columns: int, rows: int, *, unicode: bool) -> None:
        self.columns, self.rows, self.unicode = columns, rows, unicode
        self._across, self._down = (2, 4) if unicode else (1, 1)  # dots to a cell
        self.width, self.height = columns * self._across, rows * self._down  # in dots
        self._cells: dict[tuple[int, int], tuple[int, int]] = {}  # (row, column) → (dots, curve)

    def draw(self, line: Line, x_range: Point, y_range: Point, curve: int) -> None:
        """Draw a line through the points, interrupted where a y is NaN."""
        before: Point | None = None
        for x, y in _one_a_column(line, x_range, self.width):
            here = (x, _share(y, *y_range) * (self.height - 1)) if math.isfinite(y) else None
            if here:
                self._connect(before or here, here, curve)
            before = here

    def _connect(self, a: Point, b: Point, curve: int) -> None:
        """Set, column by column, every dot that the line from a to b covers."""
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

    def row_at(self, share: float) -> int:
        """The row, counted from the top, at a share of the height, counted from the bottom."""
        return self._row_of(round(min(max(share, 0), 1) * (self.height - 1)))

    def _row_of(self, y: int) -> int:
        return self.rows - 1 - y // self._down

    def cell(self, row: int, column: int) -> tuple[str, int | None]:
        """The character in a cell, and which curve it belongs to."""
        if (row, column) not in self._cells:
            return " ", None
        dots, curve = self._cells[row, column]
        return (chr(0x2800 + dots) if self.unicode else letter(curve)), curve


def letter(curve: int) -> str:
    """How a curve is called beside its end and in the key."""
    return LETTERS[curve % len(LETTERS)]


def _one_a_column(line: Line, x_range: Point, width: int) -> Iterator[Point]:
    """(column, mean y) for each column of dots that has points; NaN where there is a gap."""
    column, values = 0, list[float]()
    for x, y in line:
        here = round(_share(x, *x_range) * (width - 1))
        if values and (here != column or math.isnan(y) or math.isnan(values[-1])):
            yield column, mean(values)
            values = []
        column = here
        values.append(y)
    if values:
        yield column, mean(values)


def terminal_curves(
    runs: Sequence[Curve],
    x: XName = "step",
    width: int = 80,
    height: int = 20,
    *,
    color: bool = False,
    unicode: bool = True,
) -> str:
    """Learning curves as `height` lines of at most `width` columns, without a last newline.

    One run: its training and validation loss. Several: the validation loss of each, or training
    where there is none. A terminal too small for the smallest picture gets that.
    """
    width = max(width, LEAST_WIDTH)
    names, lines = _chosen(runs, x)
    unit, x_label = x_unit(x, x_limits(lines)[1])
    lines = [[(a / unit, b) for a, b in line] for line in lines]
    x_range, y_range = x_limits(lines), y_limits(lines)
    rows = max(LEAST_ROWS, height - 3 - len(lines))  # 3: the title and the two of the x axis
    ticks = nice_ticks(*y_range, max(2, rows // 3))
    texts = _tick_labels(ticks)
    margin = max(map(len, texts), default=0)
    canvas = Canvas(width - margin - 4, rows, unicode=unicode)
    for i, line in enumerate(lines):
        canvas.draw(line, x_range, y_range, i)
    tick_rows = [canvas.row_at(_share(tick, *y_range)) for tick in ticks]
    labels = dict(zip(tick_rows, texts, strict=True))
    title = f"loss (nats per token) by {x_label}"
    body = [
        f"{labels.get(row, ''):>{margin}} {_side(unicode, row in labels)}{content}"
        for row, content in enumerate(_rows(canvas, _ends(canvas, lines, y_range), color))
    ]
    axis = [" " * (margin + 1) + part for part in _x_axis(x_range, canvas)]
    key = [
        f"{_painted(letter(i), i, color)}  {set_cell_size(summary, width - 3)}"
        for i, summary in enumerate(map(_summary, names, lines, itertools.repeat(x_label)))
    ]
    return "\n".join(line.rstrip() for line in [title, *body, *axis, *key])


def _chosen(runs: Sequence[Curve], x: XName) -> tuple[list[str], list[Line]]:
    """Names and points of what is drawn."""
    names, lines = list[str](), list[Line]()
    for run in runs:
        splits = [split for split in ("train", "val") if finite(run.points(split, x))]
        for split in splits if len(runs) == 1 else splits[-1:]:
            names.append(f"{visible(run.name, one_line=True)} {split}")
            lines.append(run.points(split, x))
    return names, lines


def _tick_labels(ticks: Sequence[float]) -> list[str]:
    """The ticks with as many decimals as the one that needs most."""
    if any(abs(tick) >= 1000 for tick in ticks):  # noqa: PLR2004
        return [humanize.compact(tick) for tick in ticks]
    decimals = max((len(f"{tick:.6g}".partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:.{decimals}f}" for tick in ticks]


def _side(unicode: bool, tick: bool) -> str:
    return ("┤" if tick else "│") if unicode else ("+" if tick else "|")


def _painted(text: str, curve: int | None, color: bool) -> str:
    if not color or curve is None:
        return text
    return f"\x1b[{COLORS[curve % len(COLORS)]}m{text}\x1b[0m"


def _rows(canvas: Canvas, ends: Mapping[int, int], color: bool) -> Iterator[str]:
    """The rows of the canvas, behind each the letter of the curve that ends there."""
    for row in range(canvas.rows):
        cells = [canvas.cell(row, column) for column in range(canvas.columns)]
        stretches = itertools.groupby(cells, key=lambda cell: cell[1])
        yield "".join(
            _painted("".join(character for character, _ in stretch), curve, color)
            for curve, stretch in stretches
        ) + (" " + _painted(letter(ends[row]), ends[row], color) if row in ends else "")


def _ends(canvas: Canvas, lines: Sequence[Line], y_range: Point) -> dict[int, int]:
    """Row → curve that ends there, or near where several end."""
    ends: dict[int, int] = {}
    for i, line in enumerate(lines):
        _, y = finite(line)[-1]
        row = canvas.row_at(_share(y, *y_range))
        nearest = sorted(range(canvas.rows), key=lambda other: abs(other - row))
        free = [other for other in nearest if other not in ends]
        if free:
            ends[free[0]] = i
    return ends


def _x_axis(x_range: Point, canvas: Canvas) -> tuple[str, str]:
    """The axis with its ticks, and the line of labels below it."""
    corner, dash, mark = ("└", "─", "┬") if canvas.unicode else ("+", "-", "+")
    axis, below = [corner, *dash * canvas.columns], ""
    ticks = nice_ticks(*x_range, max(2, canvas.columns // 12))
    for tick, label in zip(ticks, _tick_labels(ticks), strict=True):
        column = 1 + round(_share(tick, *x_range) * (canvas.columns - 1))
        axis[column] = mark
        begin = min(max(0, column - len(label) // 2), len(axis) - len(label))
        if begin >= len(below):  # else it would run into the one before
            below = f"{below:<{begin}}{label} "
    return "".join(axis), below


def _summary(name: str, line: Line, x_label: str) -> str:
    points = finite(line)
    x, lowest = min(points, key=lambda point: point[1])
    where = f"{humanize.compact(x)} {x_label}" if x_label != "step" else f"step {x:,.0f}"
    return f"{name}  {humanize.figure(points[-1][1])}, lowest {humanize.figure(lowest)} at {where}"
