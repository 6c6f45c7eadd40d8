"""Show progress: a live line on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.cells import cell_len, set_cell_size

from charnn.display import humanize
from charnn.display.messages import GREEN, Display
from charnn.escape import visible

REFRESH_SECONDS = 0.25  # between two updates of the live line
LOG_SECONDS = 10.0  # between two plain lines, if stderr is not a terminal
MIN_FRACTION = 0.02  # of the work; before, the time left is a guess that is not shown
NARROW, WIDE = 6, 24  # columns of a bar
SEPARATOR = "  "

Clock = Callable[[], float]
Fields = dict[str, str]  # name → text, in the order of the line
Styles = Mapping[str, Sequence[str]]  # name of a field → SGR codes
BAR_STYLE: Styles = {"bar": (GREEN,)}


@contextlib.contextmanager
def byte_progress(
    display: Display, label: str, clock: Clock = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes (bytes done, total bytes) and shows the progress of `label`.

    A terminal shows a live line, which is removed at the end. Elsewhere a plain line is printed
    every LOG_SECONDS, so that short operations print nothing.
    """
    start = clock()
    label = visible(label, one_line=True)
    due = start if display.is_terminal else start + LOG_SECONDS

    def report(done: int, total: int) -> None:
        nonlocal due
        now = clock()
        if now < due:
            return
        if display.is_terminal:
            due = now + REFRESH_SECONDS
            display.paint(lambda width: render(done, total, now - start, width))
        else:
            due = now + LOG_SECONDS
            display.note(f"{label}: {format_amount(done, total)}")

    def render(done: int, total: int, seconds: float, width: int) -> str:
        unicode = display.has_unicode
        fields = byte_progress_fields(label, done, total, seconds, width, unicode=unicode)
        return joined(display, fields, BAR_STYLE)

    try:
        yield report
    finally:
        display.settle(keep=False)


@contextlib.contextmanager
def status_line(
    display: Display, clock: Clock = time.monotonic
) -> Iterator[Callable[[str, float], None]]:
    """Yield a function that takes (current work, fraction done) and shows both and the time left.

    A terminal shows a live line, which is removed at the end; elsewhere a plain line is printed
    every LOG_SECONDS.
    """
    begin = clock()
    due = begin if display.is_terminal else begin + LOG_SECONDS
    shown = ""

    def show(text: str, fraction: float) -> None:
        nonlocal due, shown
        now = clock()
        if now < due and (text == shown or not display.is_terminal):
            return
        line = visible(text, one_line=True)
        is_known = fraction >= MIN_FRACTION
        left = eta((now - begin) * (1 - fraction) / fraction if is_known else None)
        if display.is_terminal:
            shown, due = text, now + REFRESH_SECONDS
            display.paint(lambda width: painted(line, fraction, left, width))
        else:
            due = now + LOG_SECONDS
            display.note(SEPARATOR.join(filter(None, (line, left))))

    def painted(line: str, fraction: float, left: str, width: int) -> str:
        fields = {"text": line, "bar": " " * NARROW, "left": left}
        fields, spare = fitted(fields, ("bar", "left"), width)
        if "bar" in fields:
            columns = min(NARROW + spare, WIDE)
            fields["bar"] = bar(fraction, columns, unicode=display.has_unicode)
        return joined(display, fields, BAR_STYLE)

    try:
        yield show
    finally:
        display.settle(keep=False)


def byte_progress_fields(
    label: str, done: int, total: int, seconds: float, width: int, *, unicode: bool
) -> Fields:
    """Return the fields of a progress line in bytes that fit into `width` columns."""
    fraction = done / total if total else 1.0
    per_second = done / seconds if seconds else 0.0
    fields = {
        "label": label,
        "bar": " " * NARROW,
        "done": format_amount(done, total),
        "rate": f"{humanize.size(per_second)}/s",
        "left": eta((total - done) / per_second if per_second else None),
    }
    fields, spare = fitted(fields, ("rate", "left", "bar", "done"), width)
    if "bar" in fields:
        fields["bar"] = bar(fraction, min(NARROW + spare, WIDE), unicode=unicode)
    return fields


def fitted(fields: Fields, dropped_first: Sequence[str], width: int) -> tuple[Fields, int]:
    """Return the non-empty fields that fit into `width` columns, and the number of unused columns.

    Fields are dropped in the order of `dropped_first`; if that is not enough, the last is cut.
    """
    kept = {name: text for name, text in fields.items() if text}
    for name in dropped_first:
        if _columns(kept) > width:
            kept.pop(name, None)
    if _columns(kept) > width:
        kept = {name: set_cell_size(text, width) for name, text in kept.items()}
    return kept, width - _columns(kept)


def _columns(fields: Fields) -> int:
    return sum(map(cell_len, fields.values())) + len(SEPARATOR) * (len(fields) - 1)


def joined(display: Display, fields: Fields, styles: Styles) -> str:
    """Join the fields to one line, with their styles."""
    return SEPARATOR.join(
        display.styled(text, *styles.get(name, ())) for name, text in fields.items()
    )


def bar(fraction: float, columns: int, *, unicode: bool) -> str:
    """Return a bar that is filled to `fraction`, 0 to 1."""
    done, left = ("━", "─") if unicode else ("#", "-")
    full = int(min(max(fraction, 0.0), 1.0) * columns)
    return done * full + left * (columns - full)


def format_amount(done: int, total: int) -> str:
    """Format a number of bytes out of a total: "12.3 MB of 27.0 MB (46 %)"."""
    percent = 100 * done // total if total else 100
    return f"{humanize.size(done)} of {humanize.size(total)} ({percent} %)"


def eta(seconds: float | None) -> str:
    """Format the remaining time: "ETA 3 s"; empty if it is unknown."""
    return "" if seconds is None else f"ETA {humanize.duration(seconds)}"
