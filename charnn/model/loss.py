"""The training loss in nats per token: full softmax, or sampled softmax.

Negative targets, which are padding or out-of-vocabulary symbols, are excluded from the loss.

Shapes: B rows, T time, V vocab_size, H hidden_size, S sampled tokens.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mean_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean -ln p of the targets (B, T) under logits (B, T, V); 0 if there are none."""
    return _mean(logits.reshape(targets.numel(), -1), targets.flatten())


def sampled_nats(outputs: Tensor, layer: nn.Linear, targets: Tensor, samples: int) -> Tensor:
    """Estimate `mean_nats` of the logits that `layer` computes from outputs (B, T, H).

    The softmax denominator is exact for the tokens that are targets in this batch, and estimated
    without bias from S others, sampled uniformly. After Jean, Cho, Memisevic and Bengio, "On using
    very large target vocabulary for neural machine translation", 2015. Exact if there are at most
    S other tokens.
    """
    flat = targets.flatten()
    vocab_size = len(layer.weight)
    is_target = torch.zeros(vocab_size, device=flat.device)
    is_target[flat[flat >= 0]] = 1
    used = is_target.nonzero()[:, 0]
    others = vocab_size - len(used)
    if others <= samples:
        return mean_nats(layer(outputs), targets)
    classes = torch.cat([used, torch.multinomial(1 - is_target, samples)])
    logits = F.linear(
        outputs.reshape(len(flat), -1), layer.weight[classes], layer.bias[classes]
    ).float()
    logits[:, len(used) :] += math.log(others / samples)
    indices = torch.zeros(vocab_size, dtype=torch.long, device=flat.device)  # into `classes`
    indices[used] = torch.arange(len(used), device=flat.device)
    return _mean(logits, torch.where(flat < 0, flat, indices[flat.clamp(min=0)]))


def _mean(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean -ln p of the targets (N,) under logits (N, V)."""
    scored = targets >= 0
    total = F.cross_entropy(logits.float(), targets.clamp(min=-1), ignore_index=-1, reduction="sum")
    return total / scored.sum().clamp(min=1)
