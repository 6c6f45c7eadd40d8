"""Muon, gate by gate: momentum that is orthogonalized before it is applied."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

MUON_MOMENTUM = 0.95  # Jordan and others, 2024
# Of each step of the iteration, the odd quintic that brings [low, high] nearest to 1 (Amsel and
# others, "The Polar Express", 2025), where the first step is given singular values from 0.01 to 1.
NEWTON_SCHULZ = (
    (8.0934, -23.6204, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)


class GateMuon(Optimizer):
    """SGD with momentum whose matrix is orthogonalized, gate by gate, before it is applied.

    Muon (Jordan and others, "Muon: an optimizer for hidden layers in neural networks", 2024)
    replaces a matrix of momentum by the nearest orthogonal one. The weights of a recurrent layer
    are one block of H rows a gate; each block is a matrix of its own, so each is orthogonalized
    alone. A group holds `gates` and `peak_lr`; the update of a block (H, D) is scaled by
    sqrt(max(1, H/D)).
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "gates": 1})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # torch overloads it
        """Apply one update to every weight that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - MUON_MOMENTUM)
        nesterov = gradient.lerp(momentum, MUON_MOMENTUM)
        blocks = nesterov.view(group["gates"], -1, weight.shape[1])
        direction = orthogonalize(blocks).reshape(weight.shape)
        scale = math.sqrt(max(1.0, blocks.shape[1] / blocks.shape[2]))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(direction, alpha=-group["lr"] * scale)


def orthogonalize(blocks: Tensor) -> Tensor:
    """Return matrices (G, rows, columns) whose singular values are near 1.

    Three steps of a Newton-Schulz iteration in bfloat16. Singular values from a hundredth of the
    bound up end between 0.7 and 1.3, which serves as well as exactly 1; smaller ones stay small.
    The bound is the root of the Frobenius norm of X Xᵀ, far below that of X, so that three steps
    do what five do from there (benchmarks/README.md).
    """
    x = blocks.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)  # first, so that no square overflows
    gram = torch.bmm(x, x.mT)
    bound = gram.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    x, gram = x / bound.sqrt(), gram / bound
    for step, (a, b, c) in enumerate(NEWTON_SCHULZ):
        if step:
            gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if tall else x).to(blocks.dtype)
