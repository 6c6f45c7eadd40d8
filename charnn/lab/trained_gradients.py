"""Gradients of a trained model on its text: by hand, and their norms over the lag.

Training does not keep the spectral norms of the recurrent matrices below 1. They grow, and the
gradient still vanishes, because units saturate and gates close. How fast it vanishes shows how far
back the predictions depend on the text.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from charnn.arrays import Ids
from charnn.display.charts import Lines
from charnn.display.learning_curves import Line
from charnn.errors import DataError
from charnn.lab import gradient_check
from charnn.lab.experiment import Check, Experiment, Finding, Progress, Table, Tell
from charnn.lab.gradient_flow import NORM, factor_per_token, gradient_norms, spectral_norms
from charnn.model.language_model import with_weights
from charnn.model.model_file import ModelFile

MAX_LAG, ROWS = 64, 32  # largest k, and windows of text
MIN_LAG = 8  # a text with a smaller largest k is refused
CHECK_LENGTH = 16  # tokens for the check of gradients by hand
TABLE_LAGS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Subject:
    """A model, a text in its tokens, and the name of the model."""

    model: ModelFile
    tokens: Ids
    name: str


def windows(tokens: Ids, rows: int, length: int) -> Tensor:
    """Return windows at equal distances from a text, (rows, length + 1)."""
    starts = np.linspace(0, len(tokens) - length - 1, rows).astype(np.int64)
    return torch.from_numpy(tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64))


def examine(subject: Subject, seed: int, tell: Tell) -> Finding:
    """Check the model's gradients by hand and measure their norms over the lag.

    Raises DataError if the text is too short.
    """
    max_lag = min(MAX_LAG, (len(subject.tokens) - 1) // 2)
    if max_lag < MIN_LAG:
        raise DataError(
            f"the text of {subject.name} is too short: it needs {2 * MIN_LAG + 1} tokens"
        )
    model = with_weights(subject.model).double()
    progress = Progress(tell, [1, 1])
    progress.start("gradients by hand, by autograd and by finite differences")
    tokens = windows(subject.tokens, 2, min(CHECK_LENGTH, 2 * max_lag))
    errors = [gradient_check.check_model(subject.name, model, tokens, seed)]
    progress.start(f"gradients back through {max_lag} tokens, from {ROWS} positions")
    norms = gradient_norms(model, windows(subject.tokens, ROWS, 2 * max_lag), max_lag)
    gains = spectral_norms(model)
    lines: dict[str, Line] = {name: list(enumerate(values, 1)) for name, values in norms.items()}
    return Finding(
        experiment=_experiment(subject),
        tables=[
            _table_of_norms(norms),
            _table_of_gains(gains),
            gradient_check.table_of(errors),
        ],
        checks=[
            _check_of_norms(norms, gains),
            gradient_check.check_of(errors),
        ],
        charts=[Lines(lines, subject.name, "k, tokens back", NORM, log_y=True)],
        data={
            "model": subject.name,
            "gradient_checks": [asdict(error) for error in errors],
            "spectral_norms": gains,
            "norms": norms,
        },
    )


def _experiment(subject: Subject) -> Experiment:
    return Experiment(
        name="gradients",
        question=f"How far back does a gradient of {subject.name} reach in its text?",
        claim=(
            "Training does not keep the gains (the largest singular values of the recurrent "
            "matrices) below 1, and yet the gradient vanishes on its way back, because units "
            "saturate and gates close. Gradients by hand equal those of autograd."
        ),
        measured=(
            f"{NORM}: the gradient of the loss E at token t with respect to the hidden state h, k "
            "tokens earlier, for each layer (h_0 is the lowest; c_0 is the cell state of an LSTM)."
        ),
        advice=(
            "Where the gradient is close to 0, a longer --bptt can teach this model nothing more."
        ),
    )


def _table_of_gains(gains: dict[str, float]) -> Table:
    rows = [[f"{gain:.2f}" for gain in gains.values()]]
    return Table("Gains (spectral norms) of the recurrent matrices", list(gains), rows)


def _table_of_norms(norms: dict[str, list[float]]) -> Table:
    max_lag = len(next(iter(norms.values())))
    rows = [
        [str(k), *(f"{values[k - 1]:.2e}" for values in norms.values())]
        for k in TABLE_LAGS
        if k <= max_lag
    ]
    rows.append(["× per token", *(f"{factor_per_token(values):.3f}" for values in norms.values())])
    title = f"{NORM} by layer (geometric mean of {ROWS} positions)"
    return Table(title, ["k", *norms], rows)


def _check_of_norms(norms: dict[str, list[float]], gains: dict[str, float]) -> Check:
    top = [name for name in norms if name.startswith("h")][-1]
    values = norms[top]
    remaining = values[-1] / values[0] if values[0] else 0.0
    return Check(
        f"Gradients with respect to {top} [do not] vanish, with gains of {min(gains.values()):.2f} "
        f"to {max(gains.values()):.2f}",
        f"they are multiplied by {factor_per_token(values):.3f} per token, and by {remaining:.1e} "
        f"from k = 1 to {len(values)}",
        remaining < 1,
    )
