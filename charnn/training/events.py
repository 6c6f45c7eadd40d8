"""The events of a training run, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from charnn.evaluation.metrics import Score


@dataclass(frozen=True)
class Step:
    """One optimizer update. `loss` is the mean of the batch in nats per token, before the update;
    `grad_norm` the global norm before clipping; `seconds`, `tokens` and `epoch` are totals of the
    run; `mean_loss` is the mean since the last logged step, on steps that are logged.
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


@dataclass(frozen=True)
class Validating:
    """A validation at `step`, or the final scoring, has read `tokens` tokens."""

    step: int
    tokens: int


@dataclass(frozen=True)
class Evaluation:
    """A validation between two steps, on a `fraction` of the split.

    `best` if its loss is the lowest so far; `averaged` if the average of the weights had a lower
    loss than the weights themselves, and is what was scored.
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
    """Something was chosen or adapted."""

    message: str


@dataclass(frozen=True)
class Warned:
    """Something went wrong that training survives."""

    message: str


@dataclass(frozen=True)
class Sampled:
    """What the network writes at this point."""

    step: int
    text: str


@dataclass(frozen=True)
class Result:
    """The end of a run.

    `val` is the score of the best model on the validation split, `train` its score on the end of
    the training split. `seconds` are those of all sessions, `tokens_per_second` those of the last
    session; `share` is the fraction of the split that was scored. `baselines` are bits per
    character of the validation text without a network, `sample` is text of the best model.
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
