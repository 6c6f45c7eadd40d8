"""Show the events of a training run: a live line on a terminal, key=value lines otherwise."""

import time
from types import TracebackType

from charnn.display import humanize
from charnn.display.learning_curves import mean
from charnn.display.messages import BOLD, CYAN, DIM, Display
from charnn.display.progress import (
    BAR_STYLE,
    LOG_SECONDS,
    NARROW,
    REFRESH_SECONDS,
    SEPARATOR,
    WIDE,
    Clock,
    Fields,
    Styles,
    bar,
    eta,
    fitted,
    joined,
)
from charnn.display.terminal_plot import sparkline
from charnn.evaluation.metrics import bits, perplexity
from charnn.training.events import Evaluation, Event, Noted, Sampled, Saved, Step, Warned

HISTORY = 512  # maximum number of means kept of the losses of a run
SMOOTHING = 0.98  # decay of the moving average of the loss
ESTIMATE_SECONDS = 3.0  # seconds of training before the time left is estimated
LONG_RUN = 120.0  # seconds left of a run without a budget above which a hint is shown
STYLES: Styles = {
    **BAR_STYLE,
    "loss": (BOLD,),
    "curve": (CYAN,),
    "lr": (DIM,),
    "epoch": (DIM,),
}
# Fields that are omitted if the line is too long, the first ones first.
DROPPED = ("epoch", "lr", "perplexity", "bits", "bar", "best", "rate", "curve", "left", "loss")


class Smoothed:
    """An exponential moving average with bias correction (Kingma and Ba, 2015)."""

    def __init__(self) -> None:
        self._sum = self._weights = 0.0

    def add(self, value: float) -> float:
        """Add a value and return the average."""
        self._sum = SMOOTHING * self._sum + (1 - SMOOTHING) * value
        self._weights = SMOOTHING * self._weights + (1 - SMOOTHING)
        return self._sum / self._weights


class History:
    """A bounded number of means of all values so far, each of the same number of values."""

    def __init__(self) -> None:
        self.means: list[float] = []
        self._pending: list[float] = []
        self._size = 1  # values per mean

    def add(self, value: float) -> None:
        """Append a value."""
        self._pending.append(value)
        if len(self._pending) == self._size:
            self.means.append(mean(self._pending))
            self._pending.clear()
        if len(self.means) == HISTORY:
            self.means = [mean(self.means[i : i + 2]) for i in range(0, HISTORY, 2)]
            self._size *= 2


class TrainProgress:
    """A display of the events of a run, and a context manager that ends the live line.

    `chars_per_token` converts nats per token to bits per character. On exit, also after an
    exception, the last state remains visible. `shorter` is the command of a shorter run; it is
    suggested once, with the time left, if that is more than LONG_RUN.
    """

    def __init__(
        self,
        display: Display,
        chars_per_token: float,
        clock: Clock = time.monotonic,
        *,
        shorter: str = "",
    ) -> None:
        self._display = display
        self._chars_per_token = chars_per_token
        self._clock = clock
        self._smoothed, self._history = Smoothed(), History()
        self._first: Step | None = None
        self._step: Step | None = None  # the last one
        self._loss = 0.0  # smoothed
        self._best: float | None = None  # lowest validation loss
        self._is_shown = True
        self._due = clock()
        self._shorter = shorter

    def __enter__(self) -> "TrainProgress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._is_shown:
            self._show()
        self._display.settle()

    def show(self, event: Event) -> None:
        """Show an event. Steps are shown every REFRESH_SECONDS or LOG_SECONDS."""
        match event:
            case Step():
                self._loss = self._smoothed.add(event.loss)
                self._history.add(self._loss)
                self._first, self._step = self._first or event, event
                self._is_shown = False
                self._estimate_length(self._first, event)
                if self._clock() >= self._due:
                    self._show()
            case Evaluation():
                if self._step and not self._is_shown and event.step == self._step.steps:
                    self._show()  # the last step before its validation
                if event.best:
                    self._best = event.score.loss
                is_terminal = self._display.is_terminal
                self._display.note(evaluation_text(event) if is_terminal else evaluation_log(event))
            case Saved():
                self._display.note(f"saved {event.folder}")
            case Sampled():
                self._display.note(quoted(event.text))
            case Noted():
                self._display.note(event.message)
            case Warned():
                self._display.warning(event.message)

    def _estimate_length(self, first: Step, last: Step) -> None:
        if not self._shorter or last.seconds - first.seconds < ESTIMATE_SECONDS:
            return
        shorter, self._shorter = self._shorter, ""
        left = self.seconds_left
        if left is not None and left > LONG_RUN:
            self._display.note(
                f"about {humanize.duration(left)} left; for a shorter run: {shorter}"
            )

    def _show(self) -> None:
        self._is_shown = True
        if self._display.is_terminal:
            self._due = self._clock() + REFRESH_SECONDS
            self._display.paint(lambda width: joined(self._display, self.fields(width), STYLES))
        else:
            self._due = self._clock() + LOG_SECONDS
            self._display.note(self.log())

    def fields(self, width: int) -> Fields:
        """Return the fields of the last step that fit into `width` columns.

        The bar and the curve of the losses take the columns left.
        """
        assert self._step
        step, unicode = self._step, self._display.has_unicode
        is_done = step.step == step.steps
        fields = {
            "bar": " " * NARROW if step.steps else "",
            "step": f"{step.step:,}" + (" steps" if step.steps is None else f"/{step.steps:,}"),
            "epoch": f"epoch {step.epoch:.2f}",
            "loss": f"loss {humanize.figure(self._loss)}",
            "curve": " " * NARROW if unicode else "",
            "perplexity": f"ppl {humanize.figure(perplexity(self._loss))}",
            "bits": f"{humanize.figure(self._bits_per_char)} bits/char",
            "best": "" if self._best is None else f"val {humanize.figure(self._best)}",
            "lr": f"lr {step.lr:.3g}",
            "rate": humanize.rate(step.tokens_per_second, "tok"),
            "left": self._duration(step) if is_done else eta(self.seconds_left),
        }
        fields, spare = fitted(fields, DROPPED, width)
        for_curve = min(spare // 2, WIDE - NARROW) if "curve" in fields else 0
        if "curve" in fields:
            fields["curve"] = sparkline(self._history.means, NARROW + for_curve)
        if "bar" in fields:
            columns = min(NARROW + spare - for_curve, WIDE)
            fields["bar"] = bar(step.step / (step.steps or 1), columns, unicode=unicode)
        return fields

    def _duration(self, step: Step) -> str:
        """Return the time of the run, and for a resumed run also that of this session."""
        total = f"in {humanize.duration(step.seconds)}"
        if self._first is None or self._first is step or self._first.step == 1:
            return total
        return f"{total}, {humanize.duration(step.seconds - self._first.seconds)} since resuming"

    def log(self) -> str:
        """Return the last step as key=value pairs, with the names of metrics.jsonl."""
        assert self._step
        step, left = self._step, self.seconds_left
        return pairs(
            step=step.step,
            steps=step.steps,
            epoch=f"{step.epoch:.3f}",
            loss=f"{self._loss:.4f}",
            perplexity=f"{perplexity(self._loss):.4g}",
            bits_per_char=f"{self._bits_per_char:.4f}",
            lr=f"{step.lr:.4g}",
            tokens_per_second=f"{step.tokens_per_second:.0f}",
            seconds=f"{step.seconds:.1f}",
            seconds_left=None if left is None else f"{left:.0f}",
        )

    @property
    def _bits_per_char(self) -> float:
        return bits(self._loss, self._chars_per_token)

    @property
    def seconds_left(self) -> float | None:
        """Return the time left at the speed since the first step; None if it is unknown.

        The time before the first step, such as loading and earlier sessions, does not count.
        """
        first, last = self._first, self._step
        if not (first and last) or last.steps is None or last.step == first.step:
            return None
        steps = last.step - first.step
        return (last.seconds - first.seconds) * (last.steps - last.step) / steps


def evaluation_text(event: Evaluation) -> str:
    """Return a validation as a line of text."""
    score = event.score
    parts = [
        f"step {event.step:,}",
        f"epoch {event.epoch:.2f}",
        f"val loss {score.loss:.4f}{_part_of_split(event)}",
        f"perplexity {humanize.figure(score.perplexity)}",
        humanize.covering(f"{humanize.figure(score.bits_per_char)} bits/char", score.coverage),
    ]
    return SEPARATOR.join([*parts, "best"] if event.best else parts)


def _part_of_split(event: Evaluation) -> str:
    return "" if event.fraction == 1 else f" (on {event.fraction:.0%} of the split)"


def evaluation_log(event: Evaluation) -> str:
    """Return a validation as key=value pairs."""
    score = event.score
    return pairs(
        step=event.step,
        epoch=f"{event.epoch:.3f}",
        val_loss=f"{score.loss:.4f}",
        val_perplexity=f"{score.perplexity:.4g}",
        val_bits_per_char=f"{score.bits_per_char:.4f}",
        val_coverage=f"{score.coverage:.6g}" if score.unknown else None,
        val_bits_per_char_all=f"{score.bits_per_char_all:.4f}" if score.unknown else None,
        val_fraction=None if event.fraction == 1 else f"{event.fraction:.3f}",
        best="yes" if event.best else "no",
    )


def pairs(**values: object) -> str:
    """Return key=value pairs; None is omitted."""
    return " ".join(f"{name}={value}" for name, value in values.items() if value is not None)


def quoted(text: str) -> str:
    """Return a sample with a bar before each line."""
    return "\n".join("  │ " + line for line in text.splitlines())
