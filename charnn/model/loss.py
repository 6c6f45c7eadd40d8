"""The training loss in nats per token: full softmax, or sampled softmax.

Negative targets, which are padding or out-of-vocabulary symbols, are excluded from the loss.

Shapes: B rows, T time, V vocab_size, H hidden_size, S sampled tokens.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Bytes of logits at once, with what is computed from them, where no gradients are needed.
MAX_LOGITS_BYTES = 256e6
BYTES_PER_LOGIT = 12  # logits, their copy in float32, and log-probabilities


BIAS_STRIDE = 16  # of 4,096 targets, 256 are enough for the mean of their biases


def positions_at_once(rows: int, vocab_size: int, bytes_per_logit: int = BYTES_PER_LOGIT) -> int:
    """Return the number of positions of B rows whose logits fit into MAX_LOGITS_BYTES; at least 1.

    A text read in parts has the same result, because the hidden state is carried from part to part.
    """
    per_position = max(1, rows * vocab_size * bytes_per_logit)
    return max(1, int(MAX_LOGITS_BYTES / per_position))


def token_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return -ln p of each target (B, T) under logits (B, T, V); 0 for a negative target."""
    flat = logits.reshape(targets.numel(), -1).float()
    nats = F.cross_entropy(flat, targets.flatten().clamp(min=-1), ignore_index=-1, reduction="none")
    return nats.reshape(targets.shape)


def mean_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean -ln p of the targets (B, T) under logits (B, T, V); 0 if there are none."""
    return _mean(logits.reshape(targets.numel(), -1), targets.flatten())


def sampled_nats(
    outputs: Tensor, layer: nn.Linear, targets: Tensor, samples: int
) -> tuple[Tensor, Tensor]:
    """Estimate `mean_nats` of the logits that `layer` computes from outputs (B, T, H).

    Return the estimate, and an estimate of how much it is too low, without gradient. The softmax
    denominator is exact for the tokens that are targets in this batch, and estimated without bias
    from S others, sampled uniformly; its logarithm is too low on average. After Jean, Cho,
    Memisevic and Bengio, "On using very large target vocabulary for neural machine translation",
    2015. Exact if there are at most S other tokens.
    """
    flat = targets.flatten()
    vocab_size = len(layer.weight)
    is_target = torch.zeros(vocab_size, device=flat.device)
    is_target[flat[flat >= 0]] = 1
    used = is_target.nonzero()[:, 0]
    others = vocab_size - len(used)
    if others <= samples:
        return mean_nats(layer(outputs), targets), outputs.new_zeros(())
    classes = torch.cat([used, torch.multinomial(1 - is_target, samples)])
    # `embedding`, because the backward pass of indexing is four times slower.
    weights, biases = F.embedding(classes, layer.weight), layer.bias.index_select(0, classes)
    logits = F.linear(outputs.reshape(len(flat), -1), weights, biases).float()
    logits[:, len(used) :] += math.log(others / samples)
    indices = torch.zeros(vocab_size, dtype=torch.long, device=flat.device)  # into `classes`
    indices[used] = torch.arange(len(used), device=flat.device)
    loss = _mean(logits, torch.where(flat < 0, flat, indices[flat.clamp(min=0)]))
    return loss, _sampling_bias(logits[flat >= 0], len(used), samples / others)


@torch.no_grad()
def _sampling_bias(logits: Tensor, used: int, fraction: float) -> Tensor:
    """Return the mean bias of the log denominator of logits (N, used + S): Var(Z) / (2 Z²).

    The terms from column `used` on are scaled samples without replacement, a `fraction` of all. The
    second-order term of the logarithm is computed on every BIAS_STRIDE-th position.
    """
    some = logits[::BIAS_STRIDE]
    if not len(some):
        return logits.new_zeros(())
    terms = (some[:, used:] - some.logsumexp(1, keepdim=True)).exp()
    return (terms.shape[1] * terms.var(1) * (1 - fraction) / 2).mean()


def _mean(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean -ln p of the targets (N,) under logits (N, V)."""
    scored = targets >= 0
    total = F.cross_entropy(logits.float(), targets.clamp(min=-1), ignore_index=-1, reduction="sum")
    return total / scored.sum().clamp(min=1)
