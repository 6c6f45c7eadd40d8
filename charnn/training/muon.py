"""The Muon optimizer for recurrent weights: momentum orthogonalized separately for each gate."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

MUON_MOMENTUM = 0.95  # Jordan et al., 2024
# Coefficients of each iteration: the odd quintic polynomials that map singular values from 0.01 to
# 1 closest to 1 (Amsel et al., "The Polar Express", 2025).
NEWTON_SCHULZ = (
    (8.0934, -23.6204, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)


class GateMuon(Optimizer):
    """Muon with a separate orthogonalization for each gate of a recurrent layer.

    Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) replaces
    the momentum of a matrix by the nearest orthogonal matrix. The weights of a recurrent layer have
    one block of H rows per gate, and each block is orthogonalized on its own. A parameter group has
    `gates` and `peak_lr`; the update of a block (H, D) is scaled by sqrt(max(1, H/D)).
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

    Three steps of a Newton-Schulz iteration in bfloat16. Singular values above 1 % of the bound
    become 0.7 to 1.3, which trains as well as exactly 1; smaller ones remain small. The bound is
    the square root of the Frobenius norm of X Xᵀ. It is much tighter than the norm of X, so that
    three steps are as good as five (benchmarks/README.md).
    """
    x = blocks.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)  # so that squares do not overflow
    gram = torch.bmm(x, x.mT)
    bound = gram.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    x, gram = x / bound.sqrt(), gram / bound
    for step, (a, b, c) in enumerate(NEWTON_SCHULZ):
        if step:
            gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if tall else x).to(blocks.dtype)
