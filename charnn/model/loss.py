"""The training loss in nats per token: full softmax, or sampled softmax.

Shapes: B rows, T time, V vocab_size, H hidden_size, S symbols drawn beside those of the batch.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charnn.data.samplers import IGNORE


def mean_nats(logits: Tensor, targets: Tensor, unk_id: int | None) -> Tensor:
    """Mean -ln p of the targets (B, T) under logits (B, T, V); IGNORE and `unk_id` left out."""
    return _mean(logits.reshape(targets.numel(), -1), _scored(targets, unk_id))


def sampled_nats(
    outputs: Tensor, layer: nn.Linear, targets: Tensor, unk_id: int | None, samples: int
) -> Tensor:
    """An estimate of `mean_nats` from outputs (B, T, H) and the layer that makes logits of them.

    The sum over the vocabulary is exact for the symbols that are targets in this batch; the rest
    of it is estimated from S others, drawn evenly and weighted up, so that the whole sum is
    unbiased. After Jean, Cho, Memisevic and Bengio, "On using very large target vocabulary for
    neural machine translation", 2015. With nothing left to draw from it is exact.
    """
    flat = _scored(targets, unk_id)
    vocabulary = len(layer.weight)
    there = torch.zeros(vocabulary, device=flat.device)
    there[flat[flat != IGNORE]] = 1
    used, others = there.nonzero()[:, 0], vocabulary - int(there.sum())
    if others <= samples:
        return mean_nats(layer(outputs), targets, unk_id)
    drawn = torch.multinomial(1 - there, samples)
    classes = torch.cat([used, drawn])
    logits = F.linear(
        outputs.reshape(len(flat), -1), layer.weight[classes], layer.bias[classes]
    ).float()
    logits[:, len(used) :] += math.log(others / samples)
    places = torch.full_like(there, IGNORE, dtype=torch.long)
    places[used] = torch.arange(len(used), device=flat.device)
    return _mean(logits, torch.where(flat == IGNORE, flat, places[flat.clamp(min=0)]))


def _scored(targets: Tensor, unk_id: int | None) -> Tensor:
    """The targets that count, (B·T,); IGNORE in the place of others."""
    if unk_id is not None:
        targets = targets.masked_fill(targets == unk_id, IGNORE)
    return targets.reshape(-1)


def _mean(logits: Tensor, targets: Tensor) -> Tensor:
    total = F.cross_entropy(logits.float(), targets, ignore_index=IGNORE, reduction="sum")
    return total / (targets != IGNORE).sum().clamp(min=1)
