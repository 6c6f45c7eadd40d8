"""Gradient descent with exploding gradients, with and without clipping."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charnn.errors import DivergedError
from charnn.lab.experiment import Check, Table
from charnn.lab.gradient_flow import scale_recurrent
from charnn.lab.small_models import Book, new_small_loop
from charnn.model.language_model import LanguageModel
from charnn.training.events import Step
from charnn.training.loop import train

LIMIT, LR, GAIN = 1.0, 0.1, 2.0
TOLERANCE = 1e-3  # relative; the rounding of a step in float32


@dataclass(frozen=True)
class ClippingResult:
    """Measurements of gradient descent with gradients clipped at norm `limit`, 0 for no clipping.

    `norm` is the largest norm of a gradient before clipping, `step` the largest norm of a change
    of the weights in one step.
    """

    limit: float
    norm: float
    step: float


def measure_steps(
    book: Book, limit: float, hidden_size: int, count: int, seed: int
) -> ClippingResult:
    """Train an RNN whose recurrent matrix has spectral norm GAIN for `count` steps."""
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
    loop = new_small_loop(settings, book.vocab_size, book.train, unk_id=book.lengths.unk_id)
    scale_recurrent(loop.model, GAIN)
    norms, steps, before = [0.0], [0.0], _weights(loop.model)
    with contextlib.suppress(DivergedError):  # the steps until then count
        for event in train(loop):
            if isinstance(event, Step):
                after = _weights(loop.model)
                norms.append(event.grad_norm)
                steps.append(float((after - before).norm()))
                before = after
    return ClippingResult(limit, max(norms), max(steps))


def _weights(model: LanguageModel) -> Tensor:
    """Return all weights as one vector, in float64."""
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().double()


def table_of(results: Sequence[ClippingResult]) -> Table:
    """Return a table with a row for each limit."""
    rows = [
        [f"{c.limit:g}" if c.limit else "off", f"{c.norm:.3g}", f"{c.step:.3g}"] for c in results
    ]
    title = f"Gradient descent with learning rate {LR}, RNN of gain {GAIN:g}"
    return Table(title, ["clip at norm", "largest gradient norm", "largest step"], rows)


def check_of(clipped: ClippingResult, free: ClippingResult) -> Check:
    """Check that clipping bounds the length of a step, and that steps are longer without it."""
    bound = LR * clipped.limit
    return Check(
        f"With clipping at norm {clipped.limit:g}, steps are [not] limited to {bound:g}, the "
        "learning rate times that norm",
        f"the largest step is {clipped.step:.3g}, without clipping {free.step:.3g}",
        clipped.step <= bound * (1 + TOLERANCE) < min(LR * clipped.norm, free.step),
    )
