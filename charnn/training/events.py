"""The events of a training run, as plain values."""

from dataclasses import dataclass
from pathlib import Path

from charnn.evaluation.metrics import Score


@dataclass(frozen=True)
class Step:
    """One optimizer update. `loss` is the mean of the batch in nats per token, before the update;
    `grad_norm` the global norm before clipping; `seconds` and `tokens` are totals of the run;
    `epoch` counts passes over the training split, with a fraction.
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


@dataclass(frozen=True)
class Evaluation:
    """A validation between two steps; `best` if it is the lowest loss so far.

    `averaged` if the average of the weights did better than the weights themselves, and is what
    was scored.
    """

    step: int
    tokens: int
    epoch: float
    seconds: float
    score: Score
    best: bool
    averaged: bool = False


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    step: int
    folder: Path


@dataclass(frozen=True)
class Warned:
    """Something went wrong that training survives."""

    message: str


@dataclass(frozen=True)
class Sampled:
    """What the network writes at this point."""

    step: int
    text: str


Event = Step | Evaluation | Saved | Sampled | Warned


@dataclass(frozen=True)
class Result:
    """What came of a run.

    `val` is the score of the best model on the whole validation split, `train` that on the last
    part of the training split, as long as the other at most. `seconds` are those of all its
    sessions from their start to here, `tokens_per_second` those of training and validating in
    the last one; `share` is how much of the split `val` is about.
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
