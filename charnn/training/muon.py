"""The Muon optimizer for recurrent weights: momentum orthogonalized separately for each gate.

Shapes: G blocks of (rows, columns); a gate of a recurrent layer has H rows.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

MUON_MOMENTUM = 0.95  # Jordan et al., 2024
# Coefficients of each iteration: the odd quintic polynomials that map singular values from 0.015 to
# 1 closest to 1, into 0.84 to 1.16 (Amsel et al., "The Polar Express", 2025). They increase steeply
# above 1, so the bound of the largest singular value is multiplied by SAFETY, as in that paper.
NEWTON_SCHULZ = (
    (7.8977, -22.8490, 16.8329),
    (3.4068, -2.5541, 0.5175),
    (2.3830, -1.7419, 0.4267),
)
SAFETY = 1.01
# Smallest matrices that are multiplied in bfloat16. In smaller ones its rounding errors do not
# average out (singular values up to 1.4), and it is not faster.
MIN_BFLOAT16 = 128
SMALLEST = 1e-37  # a matrix whose largest element is smaller counts as zero


class GateMuon(Optimizer):
    """Muon with a separate orthogonalization for each gate of a recurrent layer.

    Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) replaces
    the momentum of a matrix by the nearest orthogonal matrix. The weights of a recurrent layer have
    one block of H rows per gate, and each block is orthogonalized on its own. Blocks of the same
    shape are orthogonalized together, with products in `dtype`. A parameter group has `gates` and
    `peak_lr`; the update of a block (H, D) is scaled by sqrt(max(1, H/D)).
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "gates": 1})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # torch overloads it
        """Apply one update to every weight that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape.setdefault(weight.shape, []).append(weight)
            for weights in by_shape.values():
                self._update(weights, group)

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Update weights of one shape, (gates · H, D)."""
        gates, (rows, columns) = group["gates"], weights[0].shape
        steps = [self._nesterov(weight).view(gates, rows // gates, columns) for weight in weights]
        directions = orthogonalize(torch.cat(steps), self._dtype).chunk(len(weights))
        scale = math.sqrt(max(1.0, rows / gates / columns))
        for weight, direction in zip(weights, directions, strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.add_(direction.reshape(weight.shape), alpha=-group["lr"] * scale)

    def _nesterov(self, weight: Tensor) -> Tensor:
        """Update the momentum of a weight; return it, moved further towards the gradient."""
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum"].lerp_(weight.grad, 1 - MUON_MOMENTUM)
        return weight.grad.lerp(momentum, MUON_MOMENTUM)


def orthogonalize(blocks: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return matrices (G, rows, columns) whose singular values are near 1.

    Three steps of a Newton-Schulz iteration, with products in `dtype`, or in float32 if a dimension
    is below MIN_BFLOAT16. Singular values above a tenth of the largest become 0.7 to 1.3, which
    trains as well as exactly 1; small ones remain small. The bound is the square root of the
    Frobenius norm of X Xᵀ, computed in float32. It is much tighter than the norm of X, so that
    three steps are as good as five (benchmarks/README.md).
    """
    dtype = dtype if min(blocks.shape[1:]) >= MIN_BFLOAT16 else torch.float32
    largest = blocks.abs().amax(dim=(1, 2), keepdim=True)  # scaled first: squares could overflow
    scaled = blocks / largest.clamp(min=SMALLEST)
    is_tall = blocks.shape[1] > blocks.shape[2]
    scaled = scaled.mT.contiguous() if is_tall else scaled
    x = scaled.to(dtype)
    gram = torch.bmm(x, x.mT).float()
    squared_bound = SAFETY**2 * gram.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST)
    x, gram = (scaled * squared_bound.rsqrt()).to(dtype), (gram / squared_bound).to(dtype)
    for step, (a, b, c) in enumerate(NEWTON_SCHULZ):
        if step:
            gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if is_tall else x).to(blocks.dtype)
