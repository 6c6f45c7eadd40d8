"""The gradients of a trained model on its text: by hand, and on their way back through time.

What a network learns about its recurrent matrices is not bounded by 1: spectral norms grow in
training, and the gradient vanishes all the same, as its units saturate and its gates close. How
fast tells how far back the model's predictions still depend on what it has read.
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
from charnn.lab.experiment import Check, Finding, Table, Tell, verdict_of
from charnn.lab.gradient_flow import NORM, factor, gradient_norms, spectral_norms
from charnn.model.language_model import with_weights
from charnn.model.model_file import ModelFile

REACH, ROWS = 64, 32  # tokens back, and places in the text to go back from
READ = 16  # tokens of a gradient by hand
SHOWN = (1, 2, 4, 8, 16, 32, 64)  # k in the table


@dataclass(frozen=True)
class Subject:
    """A model, a text that it can read, and what to call the two."""

    model: ModelFile
    tokens: Ids
    name: str


def pieces(tokens: Ids, rows: int, span: int) -> Tensor:
    """`rows` pieces of `span` + 1 tokens from all over a text, (rows, span + 1)."""
    starts = np.linspace(0, len(tokens) - span - 1, rows).astype(np.int64)
    return torch.from_numpy(tokens[starts[:, None] + np.arange(span + 1)].astype(np.int64))


def examined(subject: Subject, seed: int, tell: Tell) -> Finding:
    """Compare the model's gradients by hand, and follow them back. Raises DataError."""
    reach = min(REACH, (len(subject.tokens) - 1) // 2)
    if reach < SHOWN[3]:
        raise DataError(f"{subject.name} has too little text to go back in")
    model = with_weights(subject.model.config, subject.model.tensors).double()
    tell("gradients by hand, by autograd and by differences")
    read = pieces(subject.tokens, 2, min(READ, 2 * reach))
    agreements = [gradient_check.of_model(subject.name, model, read, seed)]
    tell(f"gradients back through {reach} tokens at {ROWS} places")
    norms = gradient_norms(model, pieces(subject.tokens, ROWS, 2 * reach), reach)
    gains = spectral_norms(model)
    checks = [gradient_check.check_of(agreements), _check_of_norms(norms, gains)]
    lines: dict[str, Line] = {name: list(enumerate(some, 1)) for name, some in norms.items()}
    return Finding(
        tables=[
            gradient_check.table_of(agreements),
            _table_of_gains(gains),
            _table_of_norms(norms),
        ],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[Lines(lines, subject.name, "k, tokens back", NORM, log_y=True)],
        data={
            "model": subject.name,
            "agreements": [asdict(some) for some in agreements],
            "spectral_norms": gains,
            "norms": norms,
        },
    )


def _table_of_gains(gains: dict[str, float]) -> Table:
    rows = [[f"{gain:.2f}" for gain in gains.values()]]
    return Table("spectral norms of the recurrent matrices", list(gains), rows)


def _table_of_norms(norms: dict[str, list[float]]) -> Table:
    reach = len(next(iter(norms.values())))
    rows = [
        [str(k), *(f"{some[k - 1]:.2e}" for some in norms.values())] for k in SHOWN if k <= reach
    ]
    rows.append(["× a token", *(f"{factor(some):.3f}" for some in norms.values())])
    title = f"{NORM} by layer, mean of {ROWS} places (of c likewise)"
    return Table(title, ["k", *norms], rows)


def _check_of_norms(norms: dict[str, list[float]], gains: dict[str, float]) -> Check:
    top = [name for name in norms if name.startswith("h")][-1]
    some = norms[top]
    left = some[-1] / some[0] if some[0] else 0.0
    return Check(
        f"the gradient vanishes on its way back, × {factor(some):.3f} a token in {top}, to "
        f"{left:.1e} of itself from k = 1 to {len(some)}, with spectral norms of "
        f"{min(gains.values()):.2f} to {max(gains.values()):.2f}",
        left < 1,
    )
