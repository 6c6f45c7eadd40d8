"""Optimizers and the learning rate schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from charnn.config import TrainConfig
from charnn.model.device import Arithmetic
from charnn.model.language_model import LanguageModel
from charnn.training.muon import GateMuon

# As in nanoGPT for characters: small batches need a longer average of squared gradients than the
# 0.95 of large models, which was not better here (benchmarks/README.md, starts.py).
BETAS = (0.9, 0.99)


def _adamw(model: LanguageModel, config: TrainConfig, _: Arithmetic) -> list[Optimizer]:
    return [_adamw_over(model.named_tensors().values(), config)]


def _muon(model: LanguageModel, config: TrainConfig, arithmetic: Arithmetic) -> list[Optimizer]:
    """Return GateMuon for the recurrent and input matrices, and AdamW for the other weights."""
    matrices = [t for layer in model.recurrent_layers() for t in (layer.weight_ih, layer.weight_hh)]
    gates = len(model.recurrent_layers()[0].spec.gates)
    groups = [{"params": matrices, "gates": gates, "peak_lr": config.matrix_lr}]
    ids = {id(matrix) for matrix in matrices}
    rest = [tensor for tensor in model.named_tensors().values() if id(tensor) not in ids]
    muon = GateMuon(groups, config.matrix_lr, config.matrix_decay, arithmetic.optimizer_dtype)
    return [muon, _adamw_over(rest, config)]


def _sgd(model: LanguageModel, config: TrainConfig, _: Arithmetic) -> list[Optimizer]:
    return [SGD(_decay_groups(model.named_tensors().values(), config), lr=config.lr)]


def _adamw_over(tensors: Iterable[Tensor], config: TrainConfig) -> Optimizer:
    return AdamW(_decay_groups(tensors, config), lr=config.lr, betas=BETAS, fused=True)


def _decay_groups(tensors: Iterable[Tensor], config: TrainConfig) -> list[dict[str, Any]]:
    """Return parameter groups: matrices with weight decay, biases without."""
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


# Names of the state tensors of each weight.
STATE_NAMES: dict[type[Optimizer], set[str]] = {
    GateMuon: {"momentum"},
    AdamW: {"step", "exp_avg", "exp_avg_sq"},
    SGD: set(),
}

OPTIMIZERS: dict[str, Callable[[LanguageModel, TrainConfig, Arithmetic], list[Optimizer]]] = {
    "adamw": _adamw,
    "muon": _muon,
    "sgd": _sgd,
}


def build_optimizers(
    model: LanguageModel, config: TrainConfig, arithmetic: Arithmetic
) -> list[Optimizer]:
    """Return the optimizers of a configuration. Each weight belongs to exactly one of them."""
    return OPTIMIZERS[config.optimizer](model, config, arithmetic)


def rate_names(config: TrainConfig) -> set[str]:
    """Return the names of the settings that are learning rates of the chosen optimizer."""
    return {"lr", "matrix_lr"} if config.optimizer == "muon" else {"lr"}


def lr_factor(step: int, steps: int | None, config: TrainConfig) -> float:
    """Return the fraction of the peak learning rate for step `step` (from 0) of `steps`.

    Linear warm-up, then cosine decay to `final_lr_frac` (Loshchilov and Hutter, 2017). `steps` is
    None until a budget in minutes has measured the speed; the warm-up does not depend on it.
    """
    if step < config.warmup_steps or steps is None:
        return min(1.0, (step + 1) / (config.warmup_steps + 1))
    progress = min(1.0, (step - config.warmup_steps) / max(1, steps - config.warmup_steps))
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return config.final_lr_frac + (1 - config.final_lr_frac) * cosine


def set_lr(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set the learning rate of each parameter group to its peak times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
