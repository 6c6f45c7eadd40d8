"""Sizes of training steps with and without gradient clipping."""

import pytest

from charnn.lab import gradient_clipping
from charnn.lab.small_models import embedded_book


def test_clipping_bounds_a_step() -> None:
    """By lr · limit; without clipping a step is lr times the gradient."""
    book = embedded_book()
    clipped, free = (
        gradient_clipping.measure_steps(book, limit, 24, 3, seed=1) for limit in (1.0, 0.0)
    )
    assert clipped.step <= gradient_clipping.LR * 1.001
    assert clipped.norm > 1
    assert free.step == pytest.approx(gradient_clipping.LR * free.norm, rel=1e-3)
    assert free.step > gradient_clipping.LR
