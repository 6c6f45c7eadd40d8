"""The training loss in nats per token: full softmax, or sampled softmax.

A negative target is not scored: it is padding, or a symbol outside the vocabulary.

Shapes: B rows, T time, V vocab_size, H hidden_size, S sampled symbols.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mean_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean -ln p of the targets (B, T) under logits (B, T, V); 0 without targets."""
    return _mean(logits.reshape(targets.numel(), -1), targets.flatten())


def sampled_nats(outputs: Tensor, layer: nn.Linear, targets: Tensor, samples: int) -> Tensor:
    """Estimate `mean_nats` of the logits that `layer` computes from outputs (B, T, H).

    The softmax sum is exact for the symbols that are targets in this batch. The rest of it is
    estimated from S other symbols, sampled uniformly and weighted so that the whole sum is
    unbiased. After Jean, Cho, Memisevic and Bengio, "On using very large target vocabulary for
    neural machine translation", 2015. Exact where there are no more than S other symbols.
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
    places = torch.zeros(vocab_size, dtype=torch.long, device=flat.device)  # in `classes`
    places[used] = torch.arange(len(used), device=flat.device)
    return _mean(logits, torch.where(flat < 0, flat, places[flat.clamp(min=0)]))


def _mean(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean -ln p of the targets (N,) under logits (N, V)."""
    scored = targets >= 0
    total = F.cross_entropy(logits.float(), targets.clamp(min=-1), ignore_index=-1, reduction="sum")
    return total / scored.sum().clamp(min=1)
