"""The comparison of gradients by hand with autograd and finite differences."""

import dataclasses

import pytest
import torch

from charnn.lab import gradient_check, manual_bptt
from charnn.lab.gradient_check import GradientErrors


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_gradient_that_is_wrong_is_found_out(make_model, monkeypatch, cell, name) -> None:
    """By both of the others: a hundredth too much in one tensor shows in the error."""
    right = manual_bptt.backward

    def wrong(*arguments):
        gradients, inputs = right(*arguments)
        return {**gradients, name: gradients[name] * 1.01}, inputs

    monkeypatch.setattr(manual_bptt, "backward", wrong)
    tokens = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(1))
    found = gradient_check.check_model("wrong", make_model(cell).double(), tokens, seed=1)
    assert found.autograd == pytest.approx(0.01)
    assert found.differences == pytest.approx(0.01, rel=1e-3)
    assert not gradient_check.check_of([found]).held


def test_the_check_takes_the_worst_of_all() -> None:
    """One error above the limit, in either column, and gradients by hand are not right."""
    good = GradientErrors("good", 10, 1e-15, 1e-8)
    assert gradient_check.check_of([good, good]).held
    for name in ("autograd", "differences"):
        bad = dataclasses.replace(good, **{name: 2e-5})
        check = gradient_check.check_of([good, bad])
        assert not check.held
        assert "2e-05" in check.clause
    assert gradient_check.table_of([good]).rows == [["good", "10", "1.0e-15", "1.0e-08"]]
