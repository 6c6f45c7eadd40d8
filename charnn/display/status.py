"""Format progress as fields of a line of limited width, or as key=value."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from charnn.display import humanize
from charnn.display.terminal_plot import sparkline

NARROW, WIDE = 6, 24  # columns of the bar, and of the curve
SEPARATOR = "  "
Fields = dict[str, str]  # name → text, in the order in which they stand

# What goes first when the line would be too long for the terminal.
_TRAINING_DROPPED = (
    *("epoch", "lr", "perplexity", "bits", "bar", "best", "rate", "curve", "left", "loss"),
)
_COUNTED_DROPPED = ("rate", "left", "bar", "done")


@dataclass(frozen=True)
class TrainingStatus:
    """Where a run is: totals since its beginning, and the figures of now.

    `steps` is None while it is not known how many there will be; `loss` is in nats per token,
    smoothed; `best` is the lowest validation loss so far. `since` is the step, and the seconds,
    from which on its pace counts: what came before was loading, or another session.
    """

    step: int
    steps: int | None
    epoch: float
    seconds: float
    loss: float
    perplexity: float
    bits_per_char: float | None
    lr: float
    tokens_per_second: float
    best: float | None
    since: tuple[int, float] = (0, 0.0)

    @property
    def seconds_left(self) -> float | None:
        """How long it still takes, if it goes on at the pace so far."""
        first, began = self.since
        if self.steps is None or self.step == first:
            return None
        return (self.seconds - began) * (self.steps - self.step) / (self.step - first)


@dataclass(frozen=True)
class ValidationStatus:
    """The outcome of one validation; `best` if no loss before was lower."""

    step: int
    epoch: float
    loss: float
    perplexity: float
    bits_per_char: float | None
    best: bool


def training_fields(
    status: TrainingStatus, losses: Sequence[float], width: int, *, unicode: bool
) -> Fields:
    """The parts of the live line that fit into `width` columns with SEPARATOR between them.

    Room to spare goes to the bar and to the curve of `losses`, from the first to the last.
    """
    steps = " steps" if status.steps is None else f"/{status.steps:,}"
    fields = {
        "bar": " " * NARROW if status.steps else "",
        "step": f"{status.step:,}{steps}",
        "epoch": f"epoch {status.epoch:.2f}",
        "loss": f"loss {humanize.figure(status.loss)}",
        "curve": " " * NARROW if unicode else "",
        "perplexity": f"ppl {humanize.figure(status.perplexity)}",
        "bits": _unless_none("{} bits/char", status.bits_per_char),
        "best": _unless_none("val {}", status.best),
        "lr": f"lr {status.lr:.3g}",
        "rate": humanize.rate(status.tokens_per_second, "tok"),
        "left": _eta(status.seconds_left) if status.step != status.steps else _took(status.seconds),
    }
    fields, spare = _fitted(fields, _TRAINING_DROPPED, width)
    for_curve = min(spare // 2, WIDE - NARROW) if "curve" in fields else 0
    if "curve" in fields:
        fields["curve"] = sparkline(losses, NARROW + for_curve)
    if "bar" in fields:
        columns = min(NARROW + spare - for_curve, WIDE)
        fields["bar"] = bar(status.step / (status.steps or 1), columns, unicode=unicode)
    return fields


def counted_fields(
    label: str, done: int, total: int, seconds: float, width: int, *, unicode: bool
) -> Fields:
    """The parts of a line about bytes that are counted, as they fit into `width` columns."""
    share = done / total if total else 1.0
    per_second = done / seconds if seconds else 0.0
    fields = {
        "label": label,
        "bar": " " * NARROW,
        "done": how_much(done, total),
        "rate": f"{humanize.size(per_second)}/s",
        "left": _eta((total - done) / per_second if per_second else None),
    }
    fields, spare = _fitted(fields, _COUNTED_DROPPED, width)
    if "bar" in fields:
        fields["bar"] = bar(share, min(NARROW + spare, WIDE), unicode=unicode)
    return fields


def _fitted(fields: Fields, dropped_first: Sequence[str], width: int) -> tuple[Fields, int]:
    """The non-empty fields that fit into `width` columns, and the columns to spare."""
    kept = {name: text for name, text in fields.items() if text}
    for name in dropped_first:
        if _columns(kept) > width:
            kept.pop(name, None)
    if _columns(kept) > width:  # the last one, alone
        kept = {name: set_cell_size(text, width) for name, text in kept.items()}
    return kept, width - _columns(kept)


def _columns(fields: Fields) -> int:
    return sum(map(cell_len, fields.values())) + len(SEPARATOR) * (len(fields) - 1)


def _unless_none(pattern: str, value: float | None) -> str:
    return "" if value is None else pattern.format(humanize.figure(value))


def _eta(seconds: float | None) -> str:
    return "" if seconds is None else f"ETA {humanize.duration(seconds)}"


def _took(seconds: float) -> str:
    return f"in {humanize.duration(seconds)}"


def bar(share: float, columns: int, *, unicode: bool) -> str:
    """A bar of which a share, 0 to 1, is done."""
    done, left = ("━", "─") if unicode else ("#", "-")
    full = int(min(max(share, 0.0), 1.0) * columns)
    return done * full + left * (columns - full)


def how_much(done: int, total: int) -> str:
    """12300000 of 27000000 bytes → "12.3 MB of 27.0 MB (46 %)"."""
    percent = 100 * done // total if total else 100
    return f"{humanize.size(done)} of {humanize.size(total)} ({percent} %)"


def training_log(status: TrainingStatus) -> str:
    """The status as key=value, under the names of metrics.jsonl."""
    return _pairs(
        step=status.step,
        steps=status.steps,
        epoch=f"{status.epoch:.3f}",
        loss=f"{status.loss:.4f}",
        perplexity=f"{status.perplexity:.4g}",
        bits_per_char=_four(status.bits_per_char),
        lr=f"{status.lr:.4g}",
        tokens_per_second=f"{status.tokens_per_second:.0f}",
        seconds=f"{status.seconds:.1f}",
        seconds_left=None if status.seconds_left is None else f"{status.seconds_left:.0f}",
    )


def validation_log(found: ValidationStatus) -> str:
    """The outcome as key=value."""
    return _pairs(
        step=found.step,
        epoch=f"{found.epoch:.3f}",
        val_loss=f"{found.loss:.4f}",
        val_perplexity=f"{found.perplexity:.4g}",
        val_bits_per_char=_four(found.bits_per_char),
        best="yes" if found.best else "no",
    )


def _four(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _pairs(**values: object) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items() if value is not None)


def validation_text(found: ValidationStatus) -> str:
    """The outcome as a person reads it."""
    parts = (
        f"step {found.step:,}",
        f"epoch {found.epoch:.2f}",
        f"val loss {found.loss:.4f}",
        f"perplexity {humanize.figure(found.perplexity)}",
        _unless_none("{} bits/char", found.bits_per_char),
        "best" if found.best else "",
    )
    return SEPARATOR.join(part for part in parts if part)
