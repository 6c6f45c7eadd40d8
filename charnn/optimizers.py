"""Update rules and schedules: which weights move how, and how fast when.

Never knows: the loop.
"""

import math
from collections.abc import Callable

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from charnn.config import TrainConfig


def _adamw(groups: list[dict[str, object]], config: TrainConfig) -> Optimizer:
    return AdamW(groups, lr=config.lr, betas=(0.9, 0.99), eps=1e-8)


def _sgd(groups: list[dict[str, object]], config: TrainConfig) -> Optimizer:
    return SGD(groups, lr=config.lr)


OPTIMIZERS: dict[str, Callable[[list[dict[str, object]], TrainConfig], Optimizer]] = {
    "adamw": _adamw,
    "sgd": _sgd,
}


def build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimizer of the configuration over the model's weights; biases do not decay."""
    weights = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[config.optimizer](groups, config)


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


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Give every group of weights the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr
