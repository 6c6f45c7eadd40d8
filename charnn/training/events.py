"""The events of a training run, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from charnn.evaluation.metrics import Score


@dataclass(frozen=True)
class Step:
    """An optimizer update. `loss` is the mean of the batch before the update, in nats per token.

    `grad_norm` is the global norm before clipping; `seconds`, `tokens` and `epoch` are totals of
    the run; `mean_loss` is the mean since the last logged step, None on steps that are not logged.
    Losses are `estimated` with sampled softmax.
    """

    step: int
    steps: int | None
    tokens: int
    epoch: float
    seconds: float
    loss: float
    lr: float
    grad_norm: float
    tokens_per_second: float
    mean_loss: float | None = None
    estimated: bool = False


@dataclass(frozen=True)
class Validating:
    """Progress of a validation at `step`, or of the final evaluation: tokens read so far."""

    step: int
    tokens: int


@dataclass(frozen=True)
class Evaluation:
    """A validation between two steps, on a `fraction` of the split.

    `best` is set if its loss is the lowest so far. `averaged` is set if the averaged weights had a
    lower loss than the current ones; `score` is then the score of the averaged weights.
    """

    step: int
    tokens: int
    epoch: float
    seconds: float
    score: Score
    best: bool
    averaged: bool = False
    fraction: float = 1.0


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    step: int
    folder: Path


@dataclass(frozen=True)
class Noted:
    """A message about a choice or an adaptation."""

    message: str


@dataclass(frozen=True)
class Warned:
    """A message about a failure after which training continues."""

    message: str


@dataclass(frozen=True)
class Sampled:
    """Text sampled from the current model."""

    step: int
    text: str


@dataclass(frozen=True)
class Result:
    """The end of a run.

    `val` is the score of the best model on the validation split, `train` its score on the end of
    the training split. `seconds` is the total of all sessions, `tokens_per_second` the speed of the
    last session; `share` is the fraction of the split that was scored. `baselines` are the
    `comparable_bits` of the validation text by name, `sample` is text sampled from the best model.
    """

    run: str
    steps: int
    epochs: float
    tokens: int
    seconds: float
    tokens_per_second: float
    parameters: int
    train: Score | None
    val: Score | None
    best_step: int
    share: float = 1.0
    baselines: Mapping[str, float] = field(default_factory=dict)
    sample: str = ""


Event = Step | Validating | Evaluation | Saved | Sampled | Noted | Warned | Result
