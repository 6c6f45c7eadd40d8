"""The comparison of gradients by hand with autograd and finite differences."""

import dataclasses

import pytest
import torch

from charnn.lab import gradient_check, manual_bptt
from charnn.lab.gradient_check import GradientErrors


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_wrong_gradient_is_detected(make_model, monkeypatch, cell, name) -> None:
    """Both comparisons show an error of 1 % in one tensor."""
    correct = manual_bptt.backward

    def wrong(*arguments):
        gradients, inputs = correct(*arguments)
        return {**gradients, name: gradients[name] * 1.01}, inputs

    monkeypatch.setattr(manual_bptt, "backward", wrong)
    tokens = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(1))
    found = gradient_check.check_model("wrong", make_model(cell).double(), tokens, seed=1)
    assert found.autograd == pytest.approx(0.01)
    assert found.differences == pytest.approx(0.01, rel=1e-3)
    assert not gradient_check.check_of([found]).confirmed


def test_gradients_are_equal_if_all_errors_are_small() -> None:
    """One error above the limit, from autograd or from finite differences, is enough to fail."""
    good = GradientErrors("good", 10, 1e-15, 1e-8)
    assert gradient_check.check_of([good, good]).confirmed
    for name in ("autograd", "differences"):
        bad = dataclasses.replace(good, **{name: 2e-5})
        check = gradient_check.check_of([good, bad])
        assert not check.confirmed
        assert "2e-05" in str(check)
    assert gradient_check.table_of([good]).rows == [["good", "10", "1.0e-15", "1.0e-08"]]
