"""Progress on a live line in a terminal, and as plain lines elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType

from rich.cells import cell_len, set_cell_size

from charnn.display.learning_curves import mean
from charnn.display.messages import BOLD, CYAN, DIM, GREEN, Display
from charnn.display.status import (
    SEPARATOR,
    Fields,
    TrainingStatus,
    ValidationStatus,
    counted_fields,
    how_much,
    training_fields,
    training_log,
    validation_log,
    validation_text,
)
from charnn.escape import visible

REFRESH_SECONDS = 0.25  # between two pictures of the live line
LOG_SECONDS = 10.0  # between two plain lines, without a terminal
HISTORY = 512  # means kept of the losses of a run, at most
SMOOTHING = 0.98  # weight of the past in a smoothed loss

Clock = Callable[[], float]
_STYLES: Mapping[str, tuple[str, ...]] = {
    "bar": (GREEN,),
    "loss": (BOLD,),
    "curve": (CYAN,),
    "lr": (DIM,),
    "epoch": (DIM,),
}


class Smoothed:
    """Exponential mean of all that was added, unbiased from the first value on (Adam, 2015)."""

    def __init__(self, weight: float = SMOOTHING) -> None:
        self._weight = weight
        self._sum = self._weights = 0.0

    def add(self, value: float) -> float:
        """The mean with `value` in it."""
        self._sum = self._weight * self._sum + (1 - self._weight) * value
        self._weights = self._weight * self._weights + (1 - self._weight)
        return self._sum / self._weights


class History:
    """All values so far as a bounded number of means, each of equally many values."""

    def __init__(self) -> None:
        self.means: list[float] = []
        self._pending: list[float] = []
        self._share = 1  # values to a mean

    def add(self, value: float) -> None:
        """Append a value."""
        self._pending.append(value)
        if len(self._pending) == self._share:
            self.means.append(mean(self._pending))
            self._pending.clear()
        if len(self.means) == HISTORY:
            self.means = [mean(self.means[i : i + 2]) for i in range(0, HISTORY, 2)]
            self._share *= 2


class TrainingLine:
    """The state of a run on one live line; in a pipe or a log, on plain lines of key=value.

    A context manager: on leaving, however that happens, the last state stays as a line.
    """

    def __init__(self, display: Display, clock: Clock = time.monotonic) -> None:
        self._display = display
        self._clock = clock
        self._history = History()
        self._status: TrainingStatus | None = None
        self._is_shown = True
        self._due = clock()

    def __enter__(self) -> "TrainingLine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status and not self._is_shown:
            self._show(self._status)
        self._display.settle()

    def update(self, status: TrainingStatus) -> None:
        """Take notice of a step; it is shown if that is due again. Cheap enough for every step."""
        self._history.add(status.loss)
        self._status, self._is_shown = status, False
        if self._clock() >= self._due:
            self._show(status)

    def validated(self, found: ValidationStatus) -> None:
        """Say what a validation found."""
        is_terminal = self._display.is_terminal
        self._display.note(validation_text(found) if is_terminal else validation_log(found))

    def message(self, text: str) -> None:
        """Say something above the live line; `text` may be untrusted and have several lines."""
        self._display.note(text)

    def _show(self, status: TrainingStatus) -> None:
        self._is_shown = True
        if self._display.is_terminal:
            self._due = self._clock() + REFRESH_SECONDS
            self._display.paint(lambda width: self._painted(status, width))
        else:
            self._due = self._clock() + LOG_SECONDS
            self._display.note(training_log(status))

    def _painted(self, status: TrainingStatus, width: int) -> str:
        unicode = self._display.has_unicode
        return _joined(
            self._display, training_fields(status, self._history.means, width, unicode=unicode)
        )


@contextlib.contextmanager
def counted(
    display: Display, label: str, clock: Clock = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """A function that takes (bytes done, bytes in all) and shows how far `label` has got.

    On a terminal a live line that is gone afterwards; elsewhere a plain line every 10 seconds, so
    that what is quick says nothing.
    """
    begin = clock()
    label = visible(label, one_line=True)
    due = begin if display.is_terminal else begin + LOG_SECONDS

    def report(done: int, total: int) -> None:
        nonlocal due
        now = clock()
        if now < due:
            return
        if display.is_terminal:
            due = now + REFRESH_SECONDS
            display.paint(lambda width: painted(done, total, now - begin, width))
        else:
            due = now + LOG_SECONDS
            display.note(f"{label}: {how_much(done, total)}")

    def painted(done: int, total: int, seconds: float, width: int) -> str:
        unicode = display.has_unicode
        return _joined(display, counted_fields(label, done, total, seconds, width, unicode=unicode))

    try:
        yield report
    finally:
        display.settle(keep=False)


@contextlib.contextmanager
def status_line(display: Display, clock: Clock = time.monotonic) -> Iterator[Callable[[str], None]]:
    """A function that takes a line about what is done now, for work of unknown length.

    On a terminal it is the live line, gone afterwards; elsewhere one is printed every 10 seconds.
    """
    due = clock() + LOG_SECONDS

    def tell(text: str) -> None:
        nonlocal due
        line = visible(text, one_line=True)
        if display.is_terminal:
            display.paint(lambda width: set_cell_size(line, min(width, cell_len(line))))
        elif clock() >= due:
            due = clock() + LOG_SECONDS
            display.note(line)

    try:
        yield tell
    finally:
        display.settle(keep=False)


def _joined(display: Display, fields: Fields) -> str:
    return SEPARATOR.join(
        display.styled(text, *_STYLES.get(name, ())) for name, text in fields.items()
    )
