"""Show the events of a training run: a live line and messages above it."""

from types import TracebackType

from charnn.display.messages import Display
from charnn.display.progress import Smoothed, TrainingLine
from charnn.display.status import TrainingStatus, ValidationStatus
from charnn.evaluation.metrics import bits, perplexity
from charnn.training.events import Evaluation, Event, Noted, Sampled, Saved, Step, Warned


class Watcher:
    """Shows the events of one run; a context manager that leaves the terminal in order.

    `chars_per_token` turns nats per token into bits per character.
    """

    def __init__(self, display: Display, chars_per_token: float) -> None:
        self._display = display
        self._chars_per_token = chars_per_token
        self._line = TrainingLine(display)
        self._loss = Smoothed()
        self._best: float | None = None
        self._since: tuple[int, float] | None = None  # the first step seen, and when it was done

    def __enter__(self) -> "Watcher":
        self._line.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.__exit__(kind, error, trace)

    def show(self, event: Event) -> None:
        """Take notice of whatever happened."""
        match event:
            case Step():
                self._step(event)
            case Evaluation():
                self._evaluation(event)
            case Saved():
                self._line.message(f"saved {event.folder}")
            case Sampled():
                self._line.message(quoted(event.text))
            case Noted():
                self._line.message(event.message)
            case Warned():
                self._display.warning(event.message)

    def _step(self, event: Step) -> None:
        loss = self._loss.add(event.loss)
        self._since = self._since or (event.step, event.seconds)
        self._line.update(
            TrainingStatus(
                step=event.step,
                steps=event.steps,
                epoch=event.epoch,
                seconds=event.seconds,
                loss=loss,
                perplexity=perplexity(loss),
                bits_per_char=bits(loss, self._chars_per_token),
                lr=event.lr,
                tokens_per_second=event.tokens_per_second,
                best=self._best,
                since=self._since,
            )
        )

    def _evaluation(self, event: Evaluation) -> None:
        if event.best:
            self._best = event.score.loss
        self._line.validated(
            ValidationStatus(
                step=event.step,
                epoch=event.epoch,
                loss=event.score.loss,
                perplexity=event.score.perplexity,
                bits_per_char=event.score.bits_per_char,
                best=event.best,
            )
        )


def quoted(text: str) -> str:
    """A sample set off from what is said around it."""
    return "\n".join("  │ " + line for line in text.splitlines())
