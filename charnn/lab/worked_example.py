"""Backpropagation through four steps, written out term by term, and a common error in it.

The state is s_t = tanh(U x_t + W s_{t−1}), the outputs o_t = σ(V s_t) are independent
probabilities, and the loss is L = −Σ_t Σ_k y_tk log o_tk + (1 − y_tk) log(1 − o_tk). As in the
derivation that this checks, U belongs to the inputs and W to the state. With d_t the gradient of L
with respect to U x_t + W s_{t−1},

    d_3 = Vᵀ(o_3 − y_3) ∘ (1 − s_3 ∘ s_3)       d_2 = (Vᵀ(o_2 − y_2) + Wᵀ d_3) ∘ (1 − s_2 ∘ s_2)
    and likewise d_1 and d_0;                   ∂L/∂V = Σ (o_t − y_t) s_tᵀ
    ∂L/∂U = d_3 x_3ᵀ + d_2 x_2ᵀ + d_1 x_1ᵀ + d_0 x_0ᵀ
    ∂L/∂W = d_3 s_2ᵀ + d_2 s_1ᵀ + d_1 s_0ᵀ + d_0 s_{−1}ᵀ

A common error prints V(o − y) and W d without the transposes. V(o − y) is defined only if there are
as many outputs as hidden units; W d is always defined, but differs from Wᵀ d. The error goes
unnoticed if V and W are scalars, the case in which it is usually shown.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """Weights U (H, D), W (H, H), V (K, H); inputs x (4, D), targets y (4, K), s_{−1} (H,)."""

    u: Tensor
    w: Tensor
    v: Tensor
    x: Tensor
    y: Tensor
    s: Tensor


def random_case(inputs: int, hidden: int, outputs: int, seed: int) -> Case:
    """Return a random case in float64."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    targets = (normal(4, outputs) > 0).double()
    weights = normal(hidden, inputs), normal(hidden, hidden), normal(outputs, hidden)
    return Case(*weights, normal(4, inputs), targets, normal(hidden))


def _states(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s0 = torch.tanh(case.u @ case.x[0] + case.w @ case.s)
    s1 = torch.tanh(case.u @ case.x[1] + case.w @ s0)
    s2 = torch.tanh(case.u @ case.x[2] + case.w @ s1)
    s3 = torch.tanh(case.u @ case.x[3] + case.w @ s2)
    return s0, s1, s2, s3


def loss(case: Case) -> Tensor:
    """Return L."""
    o = torch.sigmoid(torch.stack(_states(case)) @ case.v.T)
    return -(case.y * o.log() + (1 - case.y) * (1 - o).log()).sum()


def gradients(case: Case, *, transposed: bool = True) -> dict[str, Tensor]:
    """Return ∂L/∂U, ∂L/∂W and ∂L/∂V; with `transposed` false, the result of the common error."""
    s0, s1, s2, s3 = _states(case)
    e0, e1, e2, e3 = (
        torch.sigmoid(case.v @ s) - y for s, y in zip((s0, s1, s2, s3), case.y, strict=True)
    )
    v, w = (case.v.T, case.w.T) if transposed else (case.v, case.w)
    d3 = v @ e3 * (1 - s3 * s3)
    d2 = (v @ e2 + w @ d3) * (1 - s2 * s2)
    d1 = (v @ e1 + w @ d2) * (1 - s1 * s1)
    d0 = (v @ e0 + w @ d1) * (1 - s0 * s0)
    x0, x1, x2, x3 = case.x
    outer = torch.outer
    return {
        "u": outer(d3, x3) + outer(d2, x2) + outer(d1, x1) + outer(d0, x0),
        "w": outer(d3, s2) + outer(d2, s1) + outer(d1, s0) + outer(d0, case.s),
        "v": outer(e3, s3) + outer(e2, s2) + outer(e1, s1) + outer(e0, s0),
    }
