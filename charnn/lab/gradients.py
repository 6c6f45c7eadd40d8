"""Gradients through time: by hand, and how they vanish or explode.

Two claims. First, backpropagation through time is the chain rule and no more: the gradients that
`manual_bptt` and `worked_example` derive equal those of autograd and finite differences.

Second, ∂E_t/∂h_{t−k} = ∂E_t/∂h_t · Π_{i=t−k+1}^{t} diag(1 − h_i ∘ h_i) W_hh is a product of k
matrices. If the largest singular value of W_hh (its spectral norm, the gain) is below 1, the
product vanishes at least as fast as its k-th power. To explode it must be above 1, which is not
sufficient, because 1 − h² is below 1 wherever h is not 0 (Bengio, Simard and Frasconi, "Learning
long-term dependencies with gradient descent is difficult", 1994; Pascanu, Mikolov and Bengio, "On
the difficulty of training recurrent neural networks", 2013). Some texts exchange the two cases; the
table decides.

Gates replace the product by a sum, c_t = f ∘ c_{t−1} + …, so that the gradient hardly depends on
W_hh, and is passed on completely where gates are open (Hochreiter and Schmidhuber, 1997; Gers,
Schmidhuber and Cummins, 2000). Clipping the norm of the gradient at c bounds a step of plain
gradient descent by lr · c, however large the gradient is (Pascanu and others).

With a model, the same measurements of its weights on its text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from charnn.config import CellName, ModelConfig
from charnn.display.charts import Lines
from charnn.display.learning_curves import Line
from charnn.lab import gradient_check, gradient_clipping, worked_example
from charnn.lab.experiment import Check, Finding, Table, Tell, verdict_of
from charnn.lab.gradient_check import GradientErrors, check_model, check_worked_example
from charnn.lab.gradient_clipping import ClippingResult
from charnn.lab.gradient_flow import (
    NORM,
    factor_per_token,
    gradient_norms,
    open_gates,
    scale_recurrent,
    zero_inputs,
)
from charnn.lab.small_models import embedded_book
from charnn.lab.trained_gradients import Subject, examine
from charnn.model.language_model import LanguageModel

GAINS = (0.5, 0.9, 1.1, 1.5, 2.0)
VOCAB_SIZE, EMBEDDING_DIM = 32, 32
OPEN_GATE_BIAS = 5.0  # σ(5) = 0.993
NEAR_ONE = 0.05  # largest distance from 1 of a factor that neither vanishes nor explodes
CHECK_WIDTH, EXAMPLE_WIDTH = 12, 4  # of the networks and the worked example that are checked
LARGE_ERROR = 0.01  # an error that is not due to rounding


@dataclass(frozen=True)
class Effort:
    """Size of the experiment: width, rows of text, largest lag, steps of gradient descent."""

    hidden_size: int
    rows: int
    max_lag: int
    steps: int


FULL, QUICK = Effort(128, 64, 64, 40), Effort(48, 16, 64, 10)


@dataclass(frozen=True)
class Variant:
    """A network whose gradients are measured: its cell, and how it is modified before."""

    name: str
    cell: CellName
    at_rest: bool = False  # zero inputs, so that a zero state does not change
    gates_open: bool = False  # the gates that keep the state


VARIANTS = (
    Variant("rnn at rest", "rnn", at_rest=True),
    Variant("rnn", "rnn"),
    Variant("lstm", "lstm"),
    Variant("gru", "gru"),
    Variant("lstm, f open", "lstm", gates_open=True),
    Variant("gru, z open", "gru", gates_open=True),
)


@dataclass(frozen=True)
class GradientNorms:
    """‖∂E_t/∂h_{t−k}‖ for k = 1, 2, … of a variant whose recurrent matrices have this gain."""

    variant: str
    gain: float
    norms: Sequence[float]

    @property
    def factor(self) -> float:
        """The mean ratio of the norm at lag k + 1 to that at lag k."""
        return factor_per_token(self.norms)

    def as_dict(self) -> dict[str, Any]:
        """Return the measurements as --json prints them."""
        return {
            "way": self.variant,
            "gain": self.gain,
            "norms": self.norms,
            "factor": self.factor,
        }


def run(subject: Subject | None, *, seed: int, quick: bool, tell: Tell) -> Finding:
    """Check gradients by hand, measure their norms over the lag at several gains, clip them.

    With a subject, check and measure the gradients of a trained model.
    """
    if subject is not None:
        return examine(subject, seed, tell)
    effort = QUICK if quick else FULL
    tell("gradients by hand, by autograd and by differences")
    errors = check_gradients(seed)
    norms = []
    for variant in VARIANTS:
        for gain in GAINS:
            tell(f"{variant.name}: gradients back through {effort.max_lag} tokens at gain {gain}")
            norms.append(measure_norms(variant, gain, effort, seed))
    tell(f"{effort.steps} steps with clipping, {effort.steps} without")
    book, width, count = embedded_book(), effort.hidden_size, effort.steps
    clipped = [
        gradient_clipping.measure_steps(book, limit, width, count, seed)
        for limit in (gradient_clipping.LIMIT, 0)
    ]
    return finding_of(errors, norms, clipped)


def check_gradients(seed: int) -> list[GradientErrors]:
    """Check small random networks, the worked example, and last the example without transposes."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB_SIZE, (3, 13), generator=random)
    networks: list[tuple[CellName, int]] = [("rnn", 1), ("rnn", 2), ("lstm", 2), ("gru", 2)]
    errors = []
    for cell, layers in networks:
        model = new_model(cell, CHECK_WIDTH, seed, layers)
        errors.append(check_model(f"{cell}, {layers} × {CHECK_WIDTH}", model, tokens, seed))
    case = worked_example.random_case(3, EXAMPLE_WIDTH, EXAMPLE_WIDTH, seed)
    return [
        *errors,
        check_worked_example("four steps, sigmoid outputs", case, seed),
        check_worked_example("the same, with V and W for Vᵀ and Wᵀ", case, seed, transposed=False),
    ]


def new_model(cell: CellName, hidden_size: int, seed: int, layers: int = 1) -> LanguageModel:
    """Return a network of random weights in float64."""
    torch.manual_seed(seed)
    config = ModelConfig(
        cell=cell,
        hidden_size=hidden_size,
        num_layers=layers,
        embedding_dim=EMBEDDING_DIM,
        tie_weights=False,
        vocab_size=VOCAB_SIZE,
    )
    return LanguageModel(config).double()


def measure_norms(variant: Variant, gain: float, effort: Effort, seed: int) -> GradientNorms:
    """Measure the gradients of a variant on random tokens."""
    model = new_model(variant.cell, effort.hidden_size, seed)
    scale_recurrent(model, gain)
    if variant.at_rest:
        zero_inputs(model)
    if variant.gates_open:
        open_gates(model, OPEN_GATE_BIAS)
    tokens = torch.randint(VOCAB_SIZE, (effort.rows, 2 * effort.max_lag + 1))
    return GradientNorms(variant.name, gain, gradient_norms(model, tokens, effort.max_lag)["h_0"])


def finding_of(
    errors: Sequence[GradientErrors],
    norms: Sequence[GradientNorms],
    clipped: Sequence[ClippingResult],
) -> Finding:
    """Return tables, charts and verdict of the measurements."""
    checks = [
        gradient_check.check_of(errors[:-1]),
        _check_of_transposes(errors[-1]),
        *_checks_of_factors({(n.variant, n.gain): n.factor for n in norms}),
        gradient_clipping.check_of(*clipped),
    ]
    drawn = [("rnn", gain) for gain in GAINS] + [("lstm", GAINS[0]), ("lstm", GAINS[-1])]
    norm_lines: dict[str, Line] = {
        f"{n.variant}, gain {n.gain:g}": list(enumerate(n.norms, 1))
        for n in norms
        if (n.variant, n.gain) in drawn
    }
    factor_lines: dict[str, Line] = {
        variant.name: [(n.gain, n.factor) for n in norms if n.variant == variant.name]
        for variant in VARIANTS
    }
    return Finding(
        tables=[
            gradient_check.table_of(errors),
            _table_of_factors(norms),
            gradient_clipping.table_of(clipped),
        ],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[
            Lines(norm_lines, "a gradient on its way back", "k, tokens back", NORM, log_y=True),
            Lines(
                factor_lines,
                "what a token back multiplies it by",
                "gain, the spectral norm of the recurrent matrices",
                "factor for each token",
                levels={"1": 1.0},
            ),
        ],
        data={
            "agreements": [asdict(error) for error in errors],
            "reaches": [n.as_dict() for n in norms],
            "clipping": [asdict(result) for result in clipped],
        },
    )


def _table_of_factors(norms: Sequence[GradientNorms]) -> Table:
    factors = {(n.variant, n.gain): n.factor for n in norms}
    rows = [[f"{gain:g}", *(f"{factors[v.name, gain]:.3f}" for v in VARIANTS)] for gain in GAINS]
    max_lag = len(norms[0].norms)
    title = f"each token back multiplies {NORM} by (mean over k = {max_lag // 2} to {max_lag})"
    return Table(title, ["gain", *(variant.name for variant in VARIANTS)], rows)


def _check_of_transposes(errors: GradientErrors) -> Check:
    return Check(
        f"V and W in the place of Vᵀ and Wᵀ are wrong by {errors.autograd:.0%}",
        min(errors.autograd, errors.differences) > LARGE_ERROR,
    )


def _checks_of_factors(factors: Mapping[tuple[str, float], float]) -> list[Check]:
    """Return the checks of the factors per token, by (name of a variant, gain)."""
    by_variant = {v.name: [factors[v.name, gain] for gain in GAINS] for v in VARIANTS}
    low, high = GAINS[0], GAINS[-1]
    at_rest, reading = by_variant["rnn at rest"], by_variant["rnn"]
    growth = {name: max(values) / min(values) for name, values in by_variant.items()}
    open_factors = [factor for v in VARIANTS if v.gates_open for factor in by_variant[v.name]]
    return [
        Check(
            "at rest the gradient of an RNN vanishes below a spectral norm of 1 "
            f"(× {at_rest[0]:.3f} a token at {low:g}) and explodes above it "
            f"(× {at_rest[-1]:.3f} at {high:g}), not the other way round",
            all((factor < 1) == (gain < 1) for gain, factor in zip(GAINS, at_rest, strict=True)),
        ),
        Check(
            f"while it reads, every factor is smaller (× {reading[0]:.3f} at {low:g}, × "
            f"{reading[-1]:.3f} at {high:g}), so that to explode it needs more than 1",
            all(r < a for r, a in zip(reading, at_rest, strict=True)) and reading[-1] > 1,
        ),
        Check(
            f"gates flatten this: from gain {low:g} to {high:g} the factor grows "
            f"{growth['rnn']:.1f} times in rnn, {growth['lstm']:.1f} in lstm, "
            f"{growth['gru']:.1f} in gru",
            max(growth["lstm"], growth["gru"]) < growth["rnn"],
        ),
        Check(
            f"held open they hand it on (× {min(open_factors):.3f} to {max(open_factors):.3f})",
            all(abs(factor - 1) < NEAR_ONE for factor in open_factors),
        ),
    ]
