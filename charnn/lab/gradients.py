"""Gradients through time: by hand, and how they vanish or explode.

Two claims. First, ∂E_t/∂h_{t−k} = ∂E_t/∂h_t · Π_{i=t−k+1}^{t} diag(1 − h_i ∘ h_i) W_hh is a
product of k matrices. If the largest singular value of W_hh (its spectral norm, the gain) is below
1, the product vanishes at least as fast as its k-th power. To explode it must be above 1, which is
not sufficient, because 1 − h² is below 1 wherever h is not 0 (Bengio, Simard and Frasconi,
"Learning long-term dependencies with gradient descent is difficult", 1994; Pascanu, Mikolov and
Bengio, "On the difficulty of training recurrent neural networks", 2013). Some texts exchange the
two cases; the measured factors show which is right.

Gates replace the product by a sum, c_t = f ∘ c_{t−1} + …, so that the gradient hardly depends on
W_hh, and is passed on completely where gates are open (Hochreiter and Schmidhuber, 1997; Gers,
Schmidhuber and Cummins, 2000). Clipping the norm of the gradient at c bounds a step of plain
gradient descent by lr · c, however large the gradient is (Pascanu and others).

Second, backpropagation through time is the chain rule: the gradients that `manual_bptt` and
`worked_example` derive equal those of autograd and finite differences.

With a model, the experiment makes the same measurements of its weights on its text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from charnn.config import CellName, ModelConfig
from charnn.display.charts import Lines
from charnn.display.learning_curves import Line
from charnn.lab import gradient_check, gradient_clipping, worked_example
from charnn.lab.experiment import Check, Experiment, Finding, Progress, Table, Tell
from charnn.lab.gradient_check import (
    GradientErrors,
    check_model,
    check_of,
    check_worked_example,
)
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
CHECK_WIDTH, EXAMPLE_WIDTH = 12, 4  # widths of the checked networks and worked example
LARGE_ERROR = 0.01  # an error that is not due to rounding
CHECK_COST, CLIPPING_COST = 5, 10  # durations, relative to measuring the norms of a network
EXPERIMENT = Experiment(
    name="gradients",
    question="Why do gradients vanish or explode on their way back through time?",
    claim=(
        "Every step back multiplies the gradient of an RNN by its recurrent matrix. The gradient "
        "vanishes if the gain (the largest singular value of that matrix) is below 1, and can "
        "explode only if it is above 1. The gates of an LSTM or GRU keep the gradient nearly "
        "constant. Clipping limits the step that an exploding gradient causes. Backpropagation "
        "through time is the chain rule: gradients by hand equal those of autograd."
    ),
    measured=(
        f"{NORM}: the gradient of the loss E at token t with respect to the hidden state h, k "
        "tokens earlier. The first table shows the factor by which this norm changes per token: "
        "below 1 it vanishes, above 1 it explodes.\n"
        "h = 0: an RNN with zero inputs; f open, z open: the gate that keeps the state is open.\n"
        "The last table compares gradients by hand with those of autograd and with finite "
        "differences of the loss."
    ),
    advice=(
        "Use --cell lstm or gru to learn dependencies over many tokens, and keep --grad-clip on."
    ),
)


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
    zero_inputs: bool = False  # so that a zero state does not change
    gates_open: bool = False  # the gates that keep the state


VARIANTS = (
    Variant("RNN, h = 0", "rnn", zero_inputs=True),
    Variant("RNN", "rnn"),
    Variant("LSTM", "lstm"),
    Variant("GRU", "gru"),
    Variant("LSTM, f open", "lstm", gates_open=True),
    Variant("GRU, z open", "gru", gates_open=True),
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
            "variant": self.variant,
            "gain": self.gain,
            "norms": self.norms,
            "factor": self.factor,
        }


def run(subject: Subject | None, *, seed: int, quick: bool, tell: Tell) -> Finding:
    """Measure the norms of gradients over the lag at several gains, clip them, check them by hand.

    With a subject, measure and check the gradients of a trained model.
    """
    if subject is not None:
        return examine(subject, seed, tell)
    effort = QUICK if quick else FULL
    progress = Progress(
        tell, [CHECK_COST, *[1] * len(VARIANTS) * len(GAINS), CLIPPING_COST, CLIPPING_COST]
    )
    progress.start("gradients by hand, by autograd and by finite differences")
    errors = check_gradients(seed)
    norms = []
    for variant in VARIANTS:
        for gain in GAINS:
            progress.start(f"gradients back through {effort.max_lag} tokens, {variant.name}")
            norms.append(measure_norms(variant, gain, effort, seed))
    book, clipped = embedded_book(), []
    for limit in (gradient_clipping.LIMIT, 0):
        progress.start(f"gradient descent {'with' if limit else 'without'} clipping")
        clipped.append(
            gradient_clipping.measure_steps(book, limit, effort.hidden_size, effort.steps, seed)
        )
    return finding_of(errors, norms, clipped)


def check_gradients(seed: int) -> list[GradientErrors]:
    """Check small random networks, the worked example, and last the example without transposes."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB_SIZE, (3, 13), generator=random)
    networks: list[tuple[CellName, int]] = [("rnn", 1), ("rnn", 2), ("lstm", 2), ("gru", 2)]
    errors = []
    for cell, layers in networks:
        model = new_model(cell, CHECK_WIDTH, seed, layers)
        name = f"{cell.upper()}, {layers} × {CHECK_WIDTH} units"
        errors.append(check_model(name, model, tokens, seed))
    case = worked_example.random_case(3, EXAMPLE_WIDTH, EXAMPLE_WIDTH, seed)
    return [
        *errors,
        check_worked_example("worked example, 4 steps", case, seed),
        check_worked_example("the same without transposes", case, seed, transposed=False),
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
    if variant.zero_inputs:
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
    """Return tables, charts and results of the measurements."""
    return Finding(
        experiment=EXPERIMENT,
        tables=[
            _table_of_factors(norms),
            gradient_clipping.table_of(clipped),
            gradient_check.table_of(errors),
        ],
        checks=[
            *_checks_of_factors({(n.variant, n.gain): n.factor for n in norms}),
            gradient_clipping.check_of(*clipped),
            _check_of_errors(errors),
        ],
        charts=_charts(norms),
        data={
            "gradient_checks": [asdict(error) for error in errors],
            "norms": [n.as_dict() for n in norms],
            "clipping": [asdict(result) for result in clipped],
        },
    )


def _charts(norms: Sequence[GradientNorms]) -> list[Lines]:
    drawn = [("RNN", gain) for gain in GAINS] + [("LSTM", GAINS[0]), ("LSTM", GAINS[-1])]
    norm_lines: dict[str, Line] = {
        f"{n.variant}, gain {n.gain:g}": list(enumerate(n.norms, 1))
        for n in norms
        if (n.variant, n.gain) in drawn
    }
    factor_lines: dict[str, Line] = {
        variant.name: [(n.gain, n.factor) for n in norms if n.variant == variant.name]
        for variant in VARIANTS
    }
    return [
        Lines(norm_lines, "gradient norm over distance", "k, tokens back", NORM, log_y=True),
        Lines(
            factor_lines,
            "change of the gradient norm per token",
            "gain, the spectral norm of the recurrent matrices",
            "factor per token",
            levels={"1": 1.0},
        ),
    ]


def _table_of_factors(norms: Sequence[GradientNorms]) -> Table:
    factors = {(n.variant, n.gain): n.factor for n in norms}
    rows = [[f"{gain:g}", *(f"{factors[v.name, gain]:.3f}" for v in VARIANTS)] for gain in GAINS]
    max_lag = len(norms[0].norms)
    title = f"Factor of {NORM} per token (mean over k = {max_lag // 2} to {max_lag})"
    return Table(title, ["gain", *(variant.name for variant in VARIANTS)], rows)


def _checks_of_factors(factors: Mapping[tuple[str, float], float]) -> list[Check]:
    """Return the checks of the factors per token, by (name of a variant, gain)."""
    by_variant = {v.name: [factors[v.name, gain] for gain in GAINS] for v in VARIANTS}
    low, high = GAINS[0], GAINS[-1]
    at_zero, reading = by_variant["RNN, h = 0"], by_variant["RNN"]
    above = next(i for i, gain in enumerate(GAINS) if gain > 1)
    growth = {name: max(values) / min(values) for name, values in by_variant.items()}
    open_factors = [factor for v in VARIANTS if v.gates_open for factor in by_variant[v.name]]
    return [
        Check(
            "With h = 0, gradients of an RNN [do not] vanish at gains below 1 and explode at gains "
            "above 1",
            f"the factor per token is {at_zero[0]:.3f} at gain {low:g} and {at_zero[-1]:.3f} at "
            f"gain {high:g}",
            all((factor < 1) == (gain < 1) for gain, factor in zip(GAINS, at_zero, strict=True)),
        ),
        Check(
            f"While an RNN reads tokens, gradients [do not] vanish even at gain {GAINS[above]:g} "
            f"and explode at gain {high:g}",
            f"the factors are {reading[above]:.3f} and {reading[-1]:.3f}",
            reading[above] < 1 < reading[-1],
        ),
        Check(
            "Gates [do not] make the factor nearly independent of the gain",
            f"from gain {low:g} to {high:g} it grows {growth['RNN']:.2f}-fold in an RNN, "
            f"{growth['LSTM']:.2f}-fold in an LSTM and {growth['GRU']:.2f}-fold in a GRU, and with "
            f"open gates it is {min(open_factors):.3f} to {max(open_factors):.3f}",
            max(growth["LSTM"], growth["GRU"]) < growth["RNN"]
            and all(abs(factor - 1) < NEAR_ONE for factor in open_factors),
        ),
    ]


def _check_of_errors(errors: Sequence[GradientErrors]) -> Check:
    """Check gradients by hand; the last ones are of the example without transposes."""
    *correct, without = errors
    check = check_of(correct)
    return Check(
        check.part,
        f"{check.figures}, without the transposes of V and W {without.autograd:.1f}",
        check.confirmed and min(without.autograd, without.differences) > LARGE_ERROR,
    )
