"""Compute the points, axis limits and ticks of learning curves.

A value that is missing or not finite is NaN and drawn as a gap.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from charnn.display.humanize import HOUR, MINUTE
from charnn.storage.workspace import FINAL

XName = Literal["step", "tokens", "seconds"]
YName = Literal["loss", "perplexity", "bits_per_char", "bits_per_char_all"]
Y_LABELS: Mapping[YName, str] = {
    "loss": "loss (nats per token)",
    "perplexity": "perplexity",
    "bits_per_char": "bits per character",
    "bits_per_char_all": "bits per character of all characters",
}
Point = tuple[float, float]
Line = Sequence[Point]

STEEP = 0.02  # first fraction of the x range, where a loss may be cut off
LARGEST = 1e30  # value that is drawn
SAME_RATIO = 1.002  # two bits-per-nat factors count as equal up to this ratio
SAME_COVERAGE = 1e-3  # a running validation reads a part of the text, whose coverage differs a bit
SMALLEST = 1e-30  # margin of a plot; a smaller range would give places that are not finite
AIR = 0.05  # margin above and below the curves, as a fraction of the height


@dataclass(frozen=True)
class Curve:
    """The learning curve of a run: its name and the rows of its metrics.jsonl.

    The row with `final` is the closing score of the best model, not a point of the curve.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]

    def points(self, split: str, x: XName, y: YName = "loss") -> list[Point]:
        """Return (x, y) of the rows of a split, in order, without rows that lack x."""
        rows = [r for r in self.rows if r.get("split") == split and r.get(FINAL) is not True]
        points = [(_number(row, x), _number(row, y)) for row in rows]
        return [point for point in points if math.isfinite(point[0])]

    def final(self, y: YName = "loss") -> float:
        """Return the closing validation score of the best model; NaN if there is none."""
        rows = [r for r in self.rows if r.get(FINAL) is True and r.get("split") == "val"]
        return _number(rows[-1], y) if rows else math.nan

    def coverage(self, y: YName) -> float:
        """Return the fraction of the validation text that y covers, at the last validation."""
        rows = [row for row in self.rows if row.get("split") == "val" and "coverage" in row]
        covered = _number(rows[-1], "coverage") if rows and y == "bits_per_char" else 1.0
        return covered if covered < 1 else 1.0

    def bits_per_nat(self, split: str) -> float | None:
        """Return the factor from nats per token to bits per character; None if not known."""
        losses, bits = self.points(split, "step"), self.points(split, "step", "bits_per_char")
        ratios = [
            b / loss
            for (_, loss), (_, b) in zip(losses, bits, strict=True)
            if loss > 0 and math.isfinite(b)
        ]
        return ratios[0] if ratios else None


def default_y(runs: Sequence[Curve]) -> YName:
    """Return what compares the runs: the loss, or bits per char if the tokenizers differ.

    If the models leave different parts of the text out of both, it is the bits per char of all
    characters, where they are known. The training rows of a run share one factor; those of its
    validations may differ slightly.
    """
    covered = [run.coverage("bits_per_char") for run in runs]
    is_known = all(finite(run.points("val", "step", "bits_per_char_all")) for run in runs)
    if covered and is_known and max(covered) - min(covered) > SAME_COVERAGE:
        return "bits_per_char_all"
    factors = [run.bits_per_nat("train") or run.bits_per_nat("val") for run in runs]
    known = [factor for factor in factors if factor]
    return "bits_per_char" if known and max(known) > SAME_RATIO * min(known) else "loss"


def _number(row: Mapping[str, Any], key: str) -> float:
    value: Any = row.get(key)
    return float(value) if isinstance(value, int | float) and drawable(value) else math.nan


def drawable(value: float) -> bool:
    """Return whether a value is finite and below LARGEST, so that it can be drawn."""
    return abs(value) < LARGEST


def finite(line: Line) -> list[Point]:
    """Return the points of a line that can be drawn."""
    return [(x, y) for x, y in line if drawable(y)]


def mean(values: Iterable[float]) -> float:
    """Return the mean of the values that can be drawn; NaN if there are none."""
    known = [value for value in values if drawable(value)]
    return sum(known) / len(known) if known else math.nan


def x_unit(x: XName, last: float) -> tuple[float, str]:
    """Return (divisor of x, axis label); long times are shown in minutes or hours."""
    if x == "seconds" and last > 2 * MINUTE:
        return (HOUR, "hours") if last > 2 * HOUR else (MINUTE, "minutes")
    return 1.0, x


def x_limits(lines: Iterable[Line]) -> tuple[float, float]:
    """Return the range of the x axis: 0 to the largest x, or 0 to 1 without points."""
    return 0.0, max((x for line in lines for x, _ in line), default=0.0) or 1.0


def y_limits(lines: Iterable[Line]) -> tuple[float, float]:
    """Return the range of the y axis, with a margin.

    In the first 2 % of the x range, where a loss falls steeply, the curve may be cut off at the
    top, so that the rest of it fills the plot.
    """
    points = [point for line in lines for point in finite(line)]
    if not points:
        return 0.0, 1.0
    last = max(x for x, _ in points)
    low = min(y for _, y in points)
    high = max(y for x, y in points if x >= STEEP * last)
    margin = AIR * (high - low)
    if margin <= SMALLEST:  # all values are equal
        margin = AIR * abs(high)
    if margin <= SMALLEST:  # all values are zero
        margin = 1.0
    return low - margin, high + margin


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` ticks, multiples of 1, 2, 2.5 or 5 times a power of ten."""
    span = high - low
    if most < 1 or not 0 < span < math.inf:
        return []
    power = 10.0 ** math.floor(math.log10(span / most))
    for step in (factor * power for factor in (1, 2, 2.5, 5, 10, 20, 25, 50)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [i * step for i in range(first, last + 1)]
    return []
