"""Draw learning curves, and write figures as PNG or SVG.

Figures are created without pyplot, which has global state. The same values give the same bytes.
matplotlib is imported only when a figure is drawn.
"""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charnn.display import humanize
from charnn.display.learning_curves import (
    SAME_RATIO,
    Y_LABELS,
    Curve,
    Line,
    XName,
    YName,
    finite,
    x_limits,
    x_unit,
    y_limits,
)
from charnn.errors import UsageError
from charnn.escape import visible
from charnn.storage import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

SUFFIXES = (".png", ".svg")
DOTS_PER_INCH = 160
SIZE = (7.2, 4.3)  # inches
# The color-blind-safe palette of Okabe and Ito, 2008, without its yellow, too pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#666666"
MAX_PERPLEXITY_LOSS = 20.0  # nats; there is no perplexity axis for larger losses

_STYLE: "dict[RcKeyType, Any]" = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 9.5,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "svg.hashsalt": "charnn",  # makes identifiers in SVG files reproducible
}
_SUBTITLE: dict[str, Any] = {"color": GREY, "fontsize": 9}
# Fonts for names in other scripts, used if they are installed.
_FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Heiti SC",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
)


def check_suffix(path: Path) -> None:
    """Raise UsageError if the file name ends in neither .png nor .svg."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"cannot write {path}: unknown picture format",
            f"use a file name that ends in {' or '.join(SUFFIXES)}",
        )


def draw_learning_curves(runs: Sequence[Curve], x: XName, path: Path, y: YName = "loss") -> None:
    """Plot the training and validation curve of each run over steps, tokens or seconds.

    The legend has the closing score of each run, or its lowest validation without one. Raise the
    errors of `picture`.
    """
    with picture(path) as figure:
        axes = figure.add_subplot()
        last = x_limits(run.points(split, x) for run in runs for split in ("train", "val"))[1]
        unit, x_label = x_unit(x, last)
        lines: list[Line] = []
        for i, run in enumerate(runs):
            lines += _draw_run(axes, run, (x, y), unit, COLORS[i % len(COLORS)])
        low, high = y_limits(lines)
        axes.set(xlim=(0, 1.01 * last / unit), ylim=(low, high))
        axes.set(xlabel=x_label, ylabel=Y_LABELS[y])
        axes.xaxis.set_major_formatter(lambda value, _: humanize.exact(value))
        axes.set_title("dots: validation (lowest circled)   thin: training (smoothed)", **_SUBTITLE)
        if y == "loss":
            _add_second_scale(axes, runs, high)
        axes.legend(title=_legend_title(runs, y), alignment="left", loc="upper right")


def _legend_title(runs: Sequence[Curve], y: YName) -> str:
    """Return what the numbers in the legend are."""
    finals = [math.isfinite(run.final(y)) for run in runs]
    kind = "final" if all(finals) and finals else "final or lowest" if any(finals) else "lowest"
    return f"{kind} validation {Y_LABELS[y].partition(' (')[0]}"


def _draw_run(
    axes: "Axes", run: Curve, names: tuple[XName, YName], unit: float, color: str
) -> list[Line]:
    """Draw both curves of a run and return the lines that must fit into the axes."""
    train, val = (
        [(at / unit, value) for at, value in run.points(split, *names)]
        for split in ("train", "val")
    )
    smooth = smoothed(train)
    best = min(finite(val), key=lambda point: point[1], default=(math.nan, math.nan))
    final = run.final(names[1])
    shown = final if math.isfinite(final) else best[1]
    name = humanize.covering(literal(run.name), run.coverage(names[1]))
    label = f"{humanize.figure(shown)}  {name}"
    axes.plot(*columns(train), color=color, linewidth=0.8, alpha=0.18)
    axes.plot(*columns(smooth), color=color, linewidth=0.9)
    axes.plot(*columns(val), color=color, linewidth=1.8, marker="o", markersize=3.5, label=label)
    axes.plot(*best, color=color, marker="o", markersize=9, markerfacecolor="none")
    return [smooth, val]


def smoothed(line: Line) -> Line:
    """Return the centered moving average of y, over fewer points at the steep start.

    Values that are not finite are left out of the averages and stay NaN.
    """
    import numpy as np

    values = np.array([y for _, y in line])
    known = np.isfinite(values)
    totals = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    index = np.arange(len(values))
    radius = np.minimum(index // 4, len(values) // 40)
    begin, end = index - radius, np.minimum(index + radius + 1, len(values))
    means = (totals[end] - totals[begin]) / np.maximum(counts[end] - counts[begin], 1)
    means[~known] = math.nan
    return [(x, float(y)) for (x, _), y in zip(line, means, strict=True)]


def columns(line: Line) -> tuple[list[float], list[float]]:
    """Return the x values and the y values of a line."""
    return [x for x, _ in line], [y for _, y in line]


def _add_second_scale(axes: "Axes", runs: Sequence[Curve], highest_loss: float) -> None:
    """Add an axis at the right: bits per char if all runs share the factor, else perplexity."""
    import numpy as np

    ratio = _bits_per_nat(runs)
    if ratio:
        label, functions = "bits per character", (_times(ratio), _times(1 / ratio))
    elif highest_loss < MAX_PERPLEXITY_LOSS:
        # matplotlib first evaluates the inverse at zero
        label, functions = "perplexity", (np.exp, lambda value: np.log(np.maximum(value, 1e-9)))
    else:
        return
    right = axes.secondary_yaxis("right", functions=functions)
    right.set_ylabel(label)


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda value: value * factor


def _bits_per_nat(runs: Sequence[Curve]) -> float | None:
    """Return the factor from nats per token to bits per char; None if curves differ in it."""
    factors = [run.bits_per_nat(split) for run in runs for split in ("train", "val")]
    known = [factor for factor in factors if factor]
    return known[0] if known and max(known) <= SAME_RATIO * min(known) else None


def literal(text: str) -> str:
    """Escape control characters, and the `$` that begins a formula in matplotlib."""
    return visible(text, one_line=True).replace("$", r"\$")


@contextlib.contextmanager
def picture(path: Path, size: tuple[float, float] = SIZE) -> Iterator["Figure"]:
    """Yield an empty figure, `size` in inches, and write it to `path` after the block.

    Raise UsageError if the suffix is neither .png nor .svg, StorageError if the file cannot be
    written.
    """
    check_suffix(path)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # hides notes about the font cache
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # for instance about missing glyphs
        mpl.rcdefaults()  # overrides the user's matplotlibrc
        mpl.rcParams.update({**_STYLE, "font.family": _fonts()})
        figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
        yield figure
        buffer = io.BytesIO()
        format_name = path.suffix.lower().removeprefix(".")
        metadata: dict[str, Any] = {"Date": None} if format_name == "svg" else {"Software": None}
        figure.savefig(buffer, format=format_name, metadata=metadata)
    atomic.write_file(path, buffer.getbuffer())


def _fonts() -> list[str]:
    """Return the default font of matplotlib and the installed fallback fonts."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]
