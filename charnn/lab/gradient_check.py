"""Compare gradients by hand with autograd and with finite differences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from charnn.lab import manual_bptt, worked_example
from charnn.lab.experiment import Check, Table
from charnn.model.language_model import LanguageModel

NUDGE = 1e-5  # half the distance of two losses; their difference is then good to nine digits
LARGEST_ERROR = 1e-5
PLACES = 8  # weights of a tensor that are nudged: half of them those that matter most


@dataclass(frozen=True)
class Agreement:
    """Gradients by hand beside two others: the largest difference, relative to the largest entry.

    The worst of all tensors; `weights` is how many weights these have.
    """

    name: str
    weights: int
    autograd: float
    differences: float


def of_model(
    name: str, model: LanguageModel, tokens: Tensor, seed: int, places: int = PLACES
) -> Agreement:
    """Of all weights of a model in float64, on tokens (B, T + 1), from a state of zero."""
    tensors = model.named_tensors()
    ids, targets = tokens[:, :-1], tokens[:, 1:]
    state = model.initial_state(len(ids))

    def loss() -> Tensor:
        logits, _ = model(ids, state)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    with torch.no_grad():
        found = manual_bptt.gradients(model.config.cell, tensors, ids, targets, state)
    return _agreement(name, found, tensors, loss, seed, places)


def of_four_steps(
    name: str, case: worked_example.Case, seed: int, places: int = PLACES, *, slipped: bool = False
) -> Agreement:
    """Of the worked case."""
    own = replace(case, **{n: getattr(case, n).clone().requires_grad_() for n in ("u", "w", "v")})
    weights = {"u": own.u, "w": own.w, "v": own.v}
    with torch.no_grad():
        found = worked_example.gradients(own, slipped=slipped)
    return _agreement(name, found, weights, lambda: worked_example.loss(own), seed, places)


def _agreement(
    name: str,
    found: manual_bptt.Gradients,
    tensors: Mapping[str, Tensor],
    loss: Callable[[], Tensor],
    seed: int,
    places: int,
) -> Agreement:
    assert found.keys() == tensors.keys()
    expected = torch.autograd.grad(loss(), list(tensors.values()))
    beside, apart = [], []
    random = torch.Generator().manual_seed(seed)
    for (tensor_name, tensor), true in zip(tensors.items(), expected, strict=True):
        gradient = found[tensor_name]
        chosen = _chosen(gradient, places, random)
        nudged = by_differences(loss, tensor, chosen)
        beside.append(relative_error(gradient, true, true))
        apart.append(relative_error(gradient.flatten()[chosen], nudged, true))
    weights = sum(tensor.numel() for tensor in tensors.values())
    return Agreement(name, weights, max(beside), max(apart))


def _chosen(gradient: Tensor, places: int, random: torch.Generator) -> Tensor:
    """Places in a flat tensor, (P,): those of its largest entries, and as many at random."""
    largest = gradient.abs().flatten().topk(min(places // 2, gradient.numel())).indices
    others = torch.randint(gradient.numel(), (places - places // 2,), generator=random)
    return torch.cat([largest, others])


@torch.no_grad()
def by_differences(loss: Callable[[], Tensor], tensor: Tensor, places: Tensor) -> Tensor:
    """(E(w + ε) − E(w − ε)) / 2ε for single weights of a tensor, (P,)."""
    flat = tensor.view(-1)
    slopes = []
    for place in places.tolist():
        weight = float(flat[place])
        flat[place] = weight + NUDGE
        above = float(loss())
        flat[place] = weight - NUDGE
        slopes.append((above - float(loss())) / (2 * NUDGE))
        flat[place] = weight
    return torch.tensor(slopes, dtype=tensor.dtype)


def relative_error(found: Tensor, expected: Tensor, whole: Tensor) -> float:
    """The largest difference, relative to the largest entry of the whole gradient."""
    scale = float(whole.abs().max())
    return float((found - expected).abs().max()) / scale if scale else 0.0


def table_of(agreements: Sequence[Agreement]) -> Table:
    """One row for each network or case."""
    rows = [
        [a.name, f"{a.weights:,}", f"{a.autograd:.1e}", f"{a.differences:.1e}"] for a in agreements
    ]
    header = ["gradients by hand of", "weights", "error to autograd", "to differences"]
    return Table("largest error, relative to the largest gradient, in float64", header, rows)


def check_of(agreements: Sequence[Agreement]) -> Check:
    """That gradients by hand are right."""
    autograd = max(a.autograd for a in agreements)
    differences = max(a.differences for a in agreements)
    return Check(
        f"gradients by hand are autograd's (largest error {autograd:.0e}) and those of small "
        f"differences ({differences:.0e})",
        max(autograd, differences) < LARGEST_ERROR,
    )
