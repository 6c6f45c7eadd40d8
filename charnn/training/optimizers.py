"""Optimizers and the learning rate schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from charnn.config import TrainConfig
from charnn.model.language_model import LanguageModel

MUON_MOMENTUM = 0.95
# Of each step of the iteration, the odd quintic that brings [low, high] nearest to 1 (Amsel and
# others, "The Polar Express", 2025), where the first step is given singular values from 0.01 to 1.
NEWTON_SCHULZ = (
    (8.0934, -23.6204, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)
BETAS = (0.9, 0.99)  # a short memory of squares suits runs of minutes


class GateMuon(Optimizer):
    """Momentum whose matrix is made orthogonal, gate by gate, before it is applied.

    Muon (Jordan and others, "Muon: an optimizer for hidden layers in neural networks", 2024)
    replaces a matrix of momentum by the nearest orthogonal one. The weights of a recurrent layer
    are one block of H rows a gate; each block is a matrix of its own, so each is orthogonalised
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
        direction = orthogonalised(blocks).reshape(weight.shape)
        scale = math.sqrt(max(1.0, blocks.shape[1] / blocks.shape[2]))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(direction, alpha=-group["lr"] * scale)


def orthogonalised(blocks: Tensor) -> Tensor:
    """Matrices (G, rows, columns) with their singular values brought near 1.

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


def _adamw(model: LanguageModel, config: TrainConfig) -> list[Optimizer]:
    return [_adamw_over(model.named_tensors().values(), config)]


def _muon(model: LanguageModel, config: TrainConfig) -> list[Optimizer]:
    """GateMuon on the recurrent and input matrices, AdamW on the rest."""
    matrices = [t for layer in model.recurrent_layers() for t in (layer.weight_ih, layer.weight_hh)]
    gates = len(model.recurrent_layers()[0].spec.gates)
    groups = [{"params": matrices, "gates": gates, "peak_lr": config.matrix_lr}]
    ids = {id(matrix) for matrix in matrices}
    rest = [tensor for tensor in model.named_tensors().values() if id(tensor) not in ids]
    matrices_alone = GateMuon(groups, config.matrix_lr, config.matrix_decay)
    return [matrices_alone, _adamw_over(rest, config)]


def _sgd(model: LanguageModel, config: TrainConfig) -> list[Optimizer]:
    return [SGD(_decay_groups(model.named_tensors().values(), config), lr=config.lr)]


def _adamw_over(tensors: Iterable[Tensor], config: TrainConfig) -> Optimizer:
    return AdamW(_decay_groups(tensors, config), lr=config.lr, betas=BETAS, fused=True)


def _decay_groups(tensors: Iterable[Tensor], config: TrainConfig) -> list[dict[str, Any]]:
    """Matrices, which decay, and biases, which do not."""
    tensors = list(tensors)
    decays = {True: config.weight_decay, False: 0.0}
    return [
        {
            "params": [t for t in tensors if (t.ndim > 1) is is_matrix],
            "weight_decay": decay,
            "peak_lr": config.lr,
        }
        for is_matrix, decay in decays.items()
    ]


# What each class remembers of a weight.
STATE_NAMES: dict[type[Optimizer], set[str]] = {
    GateMuon: {"momentum"},
    AdamW: {"step", "exp_avg", "exp_avg_sq"},
    SGD: set(),
}

OPTIMIZERS: dict[str, Callable[[LanguageModel, TrainConfig], list[Optimizer]]] = {
    "adamw": _adamw,
    "muon": _muon,
    "sgd": _sgd,
}


def build_optimizers(model: LanguageModel, config: TrainConfig) -> list[Optimizer]:
    """The optimizers that the configuration asks for; together they move every weight once."""
    return OPTIMIZERS[config.optimizer](model, config)


def rate_names(config: TrainConfig) -> set[str]:
    """The settings that are learning rates of the optimizer asked for."""
    return {"lr", "matrix_lr"} if config.optimizer == "muon" else {"lr"}


def lr_factor(step: int, steps: int | None, config: TrainConfig) -> float:
    """Share of the peak learning rate for step number `step` (from 0) of `steps`.

    Linear warm-up, then half a cosine down to `final_lr_frac` (Loshchilov and Hutter, 2017). The
    warm-up does not depend on `steps`, which a budget in minutes learns only as it goes (None).
    """
    if step < config.warmup_steps or steps is None:
        return min(1.0, (step + 1) / (config.warmup_steps + 1))
    progress = min(1.0, (step - config.warmup_steps) / max(1, steps - config.warmup_steps))
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return config.final_lr_frac + (1 - config.final_lr_frac) * cosine


def set_lr(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Give every group of weights its own peak learning rate times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
