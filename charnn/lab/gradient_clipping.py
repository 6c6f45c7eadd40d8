"""Gradient descent with exploding gradients, with and without clipping."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charnn.errors import DivergedError
from charnn.lab.experiment import Check, Table
from charnn.lab.gradient_flow import scale_recurrent
from charnn.lab.small_models import Book, new_training
from charnn.model.language_model import LanguageModel
from charnn.training.events import Step
from charnn.training.loop import train

LIMIT, LR, GAIN = 1.0, 0.1, 2.0
ROUNDING = 1e-3  # of a step in float32


@dataclass(frozen=True)
class Clipped:
    """Steps of gradient descent: the largest gradient before clipping at `limit`, 0 being never.

    `step` is the longest way that the weights went in one step.
    """

    limit: float
    norm: float
    step: float


def steps_of(book: Book, limit: float, hidden_size: int, count: int, seed: int) -> Clipped:
    """Steps of an RNN of too high a gain, by the ordinary trainer."""
    settings = {
        "cell": "rnn",
        "hidden_size": hidden_size,
        "embedding_dim": 32,
        "batch_size": 16,
        "steps": count,
        "optimizer": "sgd",
        "lr": LR,
        "warmup_steps": 0,
        "final_lr_frac": 1.0,
        "weight_decay": 0.0,
        "grad_clip": limit,
        "seed": seed,
    }
    training = new_training(settings, book.vocab_size, book.train, unk_id=book.lengths.unk_id)
    scale_recurrent(training.model, GAIN)
    norms, steps, before = [0.0], [0.0], _weights(training.model)
    with contextlib.suppress(DivergedError):  # what was measured up to there counts
        for event in train(training):
            if isinstance(event, Step):
                after = _weights(training.model)
                norms.append(event.grad_norm)
                steps.append(float((after - before).norm()))
                before = after
    return Clipped(limit, max(norms), max(steps))


def _weights(model: LanguageModel) -> Tensor:
    """All weights as one vector, in float64."""
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().double()


def table_of(clipped: Sequence[Clipped]) -> Table:
    """One row with clipping, one without."""
    rows = [
        [f"{c.limit:g}" if c.limit else "never", f"{c.norm:.3g}", f"{c.step:.3g}"] for c in clipped
    ]
    title = f"steps of gradient descent at lr = {LR}, RNN of gain {GAIN:g}"
    return Table(title, ["clipped at", "largest gradient", "longest step"], rows)


def check_of(clipped: Clipped, free: Clipped) -> Check:
    """That no step is longer than clipping allows, and that steps are without it."""
    bound = LR * clipped.limit
    return Check(
        f"clipped at {clipped.limit:g} no step is longer than {clipped.step:.3g}, though "
        f"gradients are as large as {clipped.norm:.3g}; without it one is {free.step:.3g} long",
        clipped.step <= bound * (1 + ROUNDING) < min(LR * clipped.norm, free.step),
    )
