"""Gradients through time: by hand, and how they vanish or explode on the way back.

Two claims. First, that backpropagation through time is no more than the chain rule: what
`by_hand` and `four_steps` derive is what autograd finds, and what small differences of the loss
say, to many digits.

Second, that ∂E_t/∂h_{t−k} = ∂E_t/∂h_t · Π_{i=t−k+1}^{t} diag(1 − h_i ∘ h_i) W_hh is a product of k
matrices: where the largest singular value of W_hh (its spectral norm, the gain) is below 1 it
vanishes as fast as its k-th power or faster; to explode it must be above 1, which is not enough, as
1 − h² is below 1 wherever tanh works (Bengio, Simard and Frasconi, "Learning long-term
dependencies with gradient descent is difficult", 1994; Pascanu, Mikolov and Bengio, "On the
difficulty of training recurrent neural networks", 2013). It is sometimes told with the two cases
exchanged; the table decides.

Gates put a sum in the place of the product, c_t = f ∘ c_{t−1} + …, so that what is handed on hardly
depends on W_hh, and all of it is where they are open (Hochreiter and Schmidhuber, 1997; Gers,
Schmidhuber and Cummins, 2000). Clipping the norm of the gradient at c bounds a step of plain
gradient descent by lr · c, however large the gradient is (Pascanu and others).

With a model, the same of its weights and its text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from charnn.config import CellName, ModelConfig
from charnn.display.charts import Lines
from charnn.display.learning_curves import Line
from charnn.lab import gradient_check, gradient_clipping, worked_example
from charnn.lab.experiment import Check, Finding, Table, Tell, verdict_of
from charnn.lab.gradient_check import Agreement, of_four_steps, of_model
from charnn.lab.gradient_clipping import Clipped
from charnn.lab.gradient_flow import (
    NORM,
    factor,
    gradient_norms,
    hold_open,
    scale_recurrent,
    silence,
)
from charnn.lab.small_models import embedded_book
from charnn.lab.trained_gradients import Subject, examined
from charnn.model.language_model import LanguageModel

GAINS = (0.5, 0.9, 1.1, 1.5, 2.0)
VOCAB_SIZE, EMBEDDING_DIM = 32, 32
OPEN = 5.0  # bias of a gate that is held open: σ(5) = 0.993
AS_ONE = 0.05  # how near to 1 a factor is that neither vanishes nor explodes
SMALL, SQUARE = 12, 4  # widths of the networks and of the worked case compared
NOTICED = 0.01  # an error that is no rounding


@dataclass(frozen=True)
class Effort:
    """How much is tried: width, texts, tokens back, steps with clipping and without."""

    hidden_size: int
    rows: int
    reach: int
    steps: int


FULL, QUICK = Effort(128, 64, 64, 40), Effort(48, 16, 64, 10)


@dataclass(frozen=True)
class Way:
    """A network whose gradients are followed back: its cell, and what is done to it before."""

    name: str
    cell: CellName
    at_rest: bool = False  # no input, so that a state of zero stays
    held_open: bool = False  # the gates through which the state passes on


WAYS = (
    Way("rnn at rest", "rnn", at_rest=True),
    Way("rnn", "rnn"),
    Way("lstm", "lstm"),
    Way("gru", "gru"),
    Way("lstm, f open", "lstm", held_open=True),
    Way("gru, z open", "gru", held_open=True),
)


@dataclass(frozen=True)
class Reach:
    """‖∂E_t/∂h_{t−k}‖ for k = 1, 2, … of a network with recurrent matrices of this gain."""

    way: str
    gain: float
    norms: Sequence[float]

    @property
    def factor(self) -> float:
        """What one token further back multiplies the norm by."""
        return factor(self.norms)


def run(subject: Subject | None, *, seed: int, quick: bool, tell: Tell) -> Finding:
    """Compare gradients by hand, follow them back at several gains, take steps with clipping.

    With a subject, compare and follow back those of a trained model.
    """
    if subject is not None:
        return examined(subject, seed, tell)
    effort = QUICK if quick else FULL
    tell("gradients by hand, by autograd and by differences")
    agreements = agreements_of(seed)
    reaches = []
    for way in WAYS:
        for gain in GAINS:
            tell(f"{way.name}: gradients back through {effort.reach} tokens at gain {gain}")
            reaches.append(reach_of(way, gain, effort, seed))
    tell(f"{effort.steps} steps with clipping, {effort.steps} without")
    book, width, count = embedded_book(), effort.hidden_size, effort.steps
    clipped = [
        gradient_clipping.steps_of(book, limit, width, count, seed)
        for limit in (gradient_clipping.LIMIT, 0)
    ]
    return judged(agreements, reaches, clipped)


def agreements_of(seed: int) -> list[Agreement]:
    """Gradients by hand of small random networks, of the worked case, and at last of the slip."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB_SIZE, (3, 13), generator=random)
    networks: list[tuple[CellName, int]] = [("rnn", 1), ("rnn", 2), ("lstm", 2), ("gru", 2)]
    found = [
        of_model(f"{cell}, {layers} × {SMALL}", new_model(cell, SMALL, seed, layers), tokens, seed)
        for cell, layers in networks
    ]
    case = worked_example.random_case(3, SQUARE, SQUARE, seed)
    return [
        *found,
        of_four_steps("four steps, sigmoid outputs", case, seed),
        of_four_steps("the same, with V and W for Vᵀ and Wᵀ", case, seed, slipped=True),
    ]


def new_model(cell: CellName, hidden_size: int, seed: int, layers: int = 1) -> LanguageModel:
    """A network of random weights in float64."""
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


def reach_of(way: Way, gain: float, effort: Effort, seed: int) -> Reach:
    """How a gradient fares on its way back through random tokens."""
    model = new_model(way.cell, effort.hidden_size, seed)
    scale_recurrent(model, gain)
    if way.at_rest:
        silence(model)
    if way.held_open:
        hold_open(model, OPEN)
    tokens = torch.randint(VOCAB_SIZE, (effort.rows, 2 * effort.reach + 1))
    return Reach(way.name, gain, gradient_norms(model, tokens, effort.reach)["h_0"])


def judged(
    agreements: Sequence[Agreement], reaches: Sequence[Reach], clipped: Sequence[Clipped]
) -> Finding:
    """Tables, charts and verdict of what was measured."""
    checks = [
        gradient_check.check_of(agreements[:-1]),
        _check_of_slip(agreements[-1]),
        *_checks_of_reaches({(r.way, r.gain): r.factor for r in reaches}),
        gradient_clipping.check_of(*clipped),
    ]
    drawn = [("rnn", gain) for gain in GAINS] + [("lstm", GAINS[0]), ("lstm", GAINS[-1])]
    back: dict[str, Line] = {
        f"{r.way}, gain {r.gain:g}": list(enumerate(r.norms, 1))
        for r in reaches
        if (r.way, r.gain) in drawn
    }
    factors: dict[str, Line] = {
        way.name: [(r.gain, r.factor) for r in reaches if r.way == way.name] for way in WAYS
    }
    return Finding(
        tables=[
            gradient_check.table_of(agreements),
            _table_of_reaches(reaches),
            gradient_clipping.table_of(clipped),
        ],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[
            Lines(back, "a gradient on its way back", "k, tokens back", NORM, log_y=True),
            Lines(
                factors,
                "what a token back multiplies it by",
                "gain, the spectral norm of the recurrent matrices",
                "factor for each token",
                levels={"1": 1.0},
            ),
        ],
        data={
            "agreements": [asdict(some) for some in agreements],
            "reaches": [{**asdict(reach), "factor": reach.factor} for reach in reaches],
            "clipping": [asdict(some) for some in clipped],
        },
    )


def _table_of_reaches(reaches: Sequence[Reach]) -> Table:
    factors = {(r.way, r.gain): r.factor for r in reaches}
    rows = [[f"{gain:g}", *(f"{factors[way.name, gain]:.3f}" for way in WAYS)] for gain in GAINS]
    reach = len(reaches[0].norms)
    title = f"each token back multiplies {NORM} by (mean over k = {reach // 2} to {reach})"
    return Table(title, ["gain", *(way.name for way in WAYS)], rows)


def _check_of_slip(slip: Agreement) -> Check:
    return Check(
        f"V and W in the place of Vᵀ and Wᵀ are wrong by {slip.autograd:.0%}",
        min(slip.autograd, slip.differences) > NOTICED,
    )


def _checks_of_reaches(factors: Mapping[tuple[str, float], float]) -> list[Check]:
    low, high = GAINS[0], GAINS[-1]
    rest, reading = ({gain: factors[way, gain] for gain in GAINS} for way in ("rnn at rest", "rnn"))
    spread = {
        way.name: max(some) / min(some)
        for way in WAYS
        for some in [[factors[way.name, gain] for gain in GAINS]]
    }
    gated = {name: spread[name] for name in ("lstm", "gru")}
    held = [factors[way.name, gain] for way in WAYS if way.held_open for gain in GAINS]
    return [
        Check(
            "at rest the gradient of an RNN vanishes below a spectral norm of 1 "
            f"(× {rest[low]:.3f} a token at {low:g}) and explodes above it (× {rest[high]:.3f} at "
            f"{high:g}), not the other way round",
            all((rest[gain] < 1) == (gain < 1) for gain in GAINS),
        ),
        Check(
            f"while it reads, every factor is smaller (× {reading[low]:.3f} at {low:g}, × "
            f"{reading[high]:.3f} at {high:g}), so that to explode it needs more than 1",
            all(reading[gain] < rest[gain] for gain in GAINS) and reading[high] > 1,
        ),
        Check(
            f"gates flatten this: from gain {low:g} to {high:g} the factor grows "
            f"{spread['rnn']:.1f} times in rnn, "
            + ", ".join(f"{times:.1f} in {name}" for name, times in gated.items()),
            max(gated.values()) < spread["rnn"],
        ),
        Check(
            f"held open they hand it on (× {min(held):.3f} to {max(held):.3f})",
            all(abs(some - 1) < AS_ONE for some in held),
        ),
    ]
