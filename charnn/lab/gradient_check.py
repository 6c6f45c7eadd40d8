"""Compare gradients by hand with autograd and with finite differences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from charnn.lab import manual_bptt, worked_example
from charnn.lab.experiment import Check, Table
from charnn.model.language_model import LanguageModel

EPSILON = 1e-5  # step of the central differences, which are then exact to nine digits
LARGEST_ERROR = 1e-5
CHECKED_WEIGHTS = 8  # weights checked per tensor; half have the largest gradients


@dataclass(frozen=True)
class GradientErrors:
    """The largest errors of gradients by hand, over all tensors of a network or example.

    `autograd` and `differences` are the largest difference from autograd and from finite
    differences, relative to the largest entry of the tensor's gradient. `weights` is the number of
    weights.
    """

    name: str
    weights: int
    autograd: float
    differences: float


def check_model(name: str, model: LanguageModel, tokens: Tensor, seed: int) -> GradientErrors:
    """Check all weights of a model in float64 on tokens (B, T + 1), from a zero state."""
    tensors = model.named_tensors()
    ids, targets = tokens[:, :-1], tokens[:, 1:]
    state = model.initial_state(len(ids))

    def loss() -> Tensor:
        logits, _ = model(ids, state)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    with torch.no_grad():
        found = manual_bptt.gradients(model.config.cell, tensors, ids, targets, state)
    return _compare(name, found, tensors, loss, seed)


def check_worked_example(
    name: str, case: worked_example.Case, seed: int, *, transposed: bool = True
) -> GradientErrors:
    """Check the gradients of the worked example; see its `gradients` for `transposed`."""
    own = replace(case, **{n: getattr(case, n).clone().requires_grad_() for n in ("u", "w", "v")})
    weights = {"u": own.u, "w": own.w, "v": own.v}
    with torch.no_grad():
        found = worked_example.gradients(own, transposed=transposed)
    return _compare(name, found, weights, lambda: worked_example.loss(own), seed)


def _compare(
    name: str,
    found: manual_bptt.Gradients,
    tensors: Mapping[str, Tensor],
    loss: Callable[[], Tensor],
    seed: int,
) -> GradientErrors:
    assert found.keys() == tensors.keys()
    expected = torch.autograd.grad(loss(), list(tensors.values()))
    autograd_errors, difference_errors = [], []
    random = torch.Generator().manual_seed(seed)
    for (tensor_name, tensor), true in zip(tensors.items(), expected, strict=True):
        gradient = found[tensor_name]
        indices = _choose_weights(gradient, random)
        differences = finite_differences(loss, tensor, indices)
        autograd_errors.append(relative_error(gradient, true, true))
        difference_errors.append(relative_error(gradient.flatten()[indices], differences, true))
    weights = sum(tensor.numel() for tensor in tensors.values())
    return GradientErrors(name, weights, max(autograd_errors), max(difference_errors))


def _choose_weights(gradient: Tensor, random: torch.Generator) -> Tensor:
    """Return flat indices, (CHECKED_WEIGHTS,) at most: largest entries and random ones."""
    half = CHECKED_WEIGHTS // 2
    largest = gradient.abs().flatten().topk(min(half, gradient.numel())).indices
    others = torch.randint(gradient.numel(), (CHECKED_WEIGHTS - half,), generator=random)
    return torch.cat([largest, others])


@torch.no_grad()
def finite_differences(loss: Callable[[], Tensor], tensor: Tensor, indices: Tensor) -> Tensor:
    """Return (E(w + ε) − E(w − ε)) / 2ε for the weights at flat indices of a tensor."""
    flat = tensor.view(-1)
    slopes = []
    for index in indices.tolist():
        weight = float(flat[index])
        flat[index] = weight + EPSILON
        above = float(loss())
        flat[index] = weight - EPSILON
        slopes.append((above - float(loss())) / (2 * EPSILON))
        flat[index] = weight
    return torch.tensor(slopes, dtype=tensor.dtype)


def relative_error(found: Tensor, expected: Tensor, whole: Tensor) -> float:
    """Return the largest difference, relative to the largest entry of the whole gradient."""
    scale = float(whole.abs().max())
    return float((found - expected).abs().max()) / scale if scale else 0.0


def table_of(results: Sequence[GradientErrors]) -> Table:
    """Return a table with a row for each network or example."""
    rows = [
        [r.name, f"{r.weights:,}", f"{r.autograd:.1e}", f"{r.differences:.1e}"] for r in results
    ]
    header = ["network", "weights", "from autograd", "from finite differences"]
    title = "Difference of gradients by hand, relative to the largest gradient (float64)"
    return Table(title, header, rows)


def check_of(results: Sequence[GradientErrors]) -> Check:
    """Check that all differences are as small as rounding makes them."""
    autograd = max(result.autograd for result in results)
    differences = max(result.differences for result in results)
    return Check(
        "Gradients by hand are [not] equal to those of autograd and to finite differences",
        f"the largest relative differences are {autograd:.0e} and {differences:.0e}",
        max(autograd, differences) < LARGEST_ERROR,
    )
