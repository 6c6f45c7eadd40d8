"""Log-probabilities of tokens from logits."""

import numpy as np

from charnn.arrays import Doubles, Floats, Ids


def target_log_probs(logits: Floats, targets: Ids) -> Doubles:
    """Return the log-probability of one target per row, (N,), in nats, from logits (N, V)."""
    shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    chosen = shifted[np.arange(len(shifted)), targets]
    result: Doubles = chosen - np.log(np.exp(shifted).sum(axis=1))
    return result
