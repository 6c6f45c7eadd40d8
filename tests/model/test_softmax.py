"""Log-probabilities of tokens."""

import numpy as np

from charnn.model.softmax import target_log_probs


def test_log_probs_of_huge_logits_are_finite() -> None:
    """Logits whose exponential overflows give exact results."""
    logits = np.array([[1e4, 0, -1e4], [5.0, 5.0, 5.0]], np.float32)

    result = target_log_probs(logits, np.array([1, 2]))

    np.testing.assert_allclose(result, [-1e4, -np.log(3)])
