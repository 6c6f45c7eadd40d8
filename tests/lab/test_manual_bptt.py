"""Gradients by hand against autograd and finite differences; the worked example."""

import dataclasses
from unittest import mock

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charnn.config import ModelConfig
from charnn.lab import gradient_check, manual_bptt, worked_example
from charnn.lab.gradient_check import GradientErrors
from charnn.model.language_model import LanguageModel

SEEDS = st.integers(0, 10_000)


@st.composite
def networks(draw):
    """Draw a network of random shape and weights in float64, and tokens (B, T + 1) for it."""
    tied = draw(st.booleans())
    width = draw(st.integers(1, 6))
    config = ModelConfig(
        cell=draw(st.sampled_from(["rnn", "lstm", "gru"])),
        hidden_size=width,
        num_layers=draw(st.integers(1, 3)),
        embedding_dim=width if tied else draw(st.integers(1, 6)),
        tie_weights=tied,
        vocab_size=draw(st.integers(2, 7)),
    )
    torch.manual_seed(draw(SEEDS))
    model = LanguageModel(config).double()
    with torch.no_grad():
        for tensor in model.named_tensors().values():
            tensor.add_(torch.randn_like(tensor) * 0.5)
    shape = (draw(st.integers(1, 4)), draw(st.integers(2, 9)))
    return model, torch.randint(config.vocab_size, shape)


def smallest_gradient(model, tokens) -> float:
    """Return the largest entry of a tensor's gradient, for the tensor where it is smallest."""
    ids, targets = tokens[:, :-1], tokens[:, 1:]
    logits, _ = model(ids, tuple(part.double() for part in model.initial_state(len(ids))))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    gradients = torch.autograd.grad(loss, list(model.named_tensors().values()))
    return min(float(gradient.abs().max()) for gradient in gradients)


@settings(max_examples=60, deadline=None)
@given(networks(), SEEDS)
def test_gradients_by_hand_equal_those_of_autograd(case, seed) -> None:
    """For every shape, cell and depth, from any state, up to rounding."""
    model, tokens = case
    ids, targets = tokens[:, :-1], tokens[:, 1:]
    torch.manual_seed(seed)
    state = tuple(torch.randn_like(part) for part in model.initial_state(len(ids)))
    logits, _ = model(ids, state)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    tensors = model.named_tensors()
    expected = torch.autograd.grad(loss, list(tensors.values()))
    with torch.no_grad():
        found = manual_bptt.gradients(model.config.cell, tensors, ids, targets, state)

    assert found.keys() == tensors.keys()
    for name, true in zip(tensors, expected, strict=True):
        torch.testing.assert_close(found[name], true, rtol=1e-8, atol=1e-12, msg=name)


@settings(max_examples=25, deadline=None)
@given(networks(), SEEDS)
def test_gradients_by_hand_equal_finite_differences(case, seed) -> None:
    """For every weight of small networks, with errors below 1e-5.

    Networks with very small gradients are left out, because the loss is rounded.
    """
    model, tokens = case
    assume(smallest_gradient(model, tokens) > 1e-4)
    before = {name: tensor.detach().clone() for name, tensor in model.named_tensors().items()}
    with mock.patch.object(gradient_check, "CHECKED_WEIGHTS", 60):
        found = gradient_check.check_model("network", model, tokens, seed)

    assert found.autograd < 1e-10
    assert found.differences < 1e-5
    assert found.weights == sum(tensor.numel() for tensor in before.values())
    for name, tensor in model.named_tensors().items():
        torch.testing.assert_close(tensor.detach(), before[name], rtol=0, atol=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), SEEDS)
def test_the_worked_example_is_right_for_all_dimensions(inputs, hidden, outputs, seed) -> None:
    """Also for matrices that are not square, which need their transposes."""
    found = gradient_check.check_worked_example(
        "case", worked_example.random_case(inputs, hidden, outputs, seed), 1
    )

    assert found.autograd < 1e-10
    assert found.differences < 1e-5


def test_missing_transposes_are_correct_for_scalars_only() -> None:
    """They fail if the numbers of outputs and hidden units differ, and are wrong otherwise."""
    single, square, oblong = (
        worked_example.random_case(2, hidden, outputs, seed=1)
        for hidden, outputs in [(1, 1), (3, 3), (3, 2)]
    )
    assert (
        gradient_check.check_worked_example("numbers", single, 1, transposed=False).differences
        < 1e-5
    )
    found = gradient_check.check_worked_example("square", square, 1, transposed=False)
    assert min(found.autograd, found.differences) > 0.1
    with pytest.raises(RuntimeError, match="size"):
        worked_example.gradients(oblong, transposed=False)


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
    assert not gradient_check.are_equal([found])


def test_gradients_are_equal_if_all_errors_are_small() -> None:
    """One error above the limit, from autograd or from finite differences, is enough to fail."""
    good = GradientErrors("good", 10, 1e-15, 1e-8)
    assert gradient_check.are_equal([good, good])
    for name in ("autograd", "differences"):
        bad = dataclasses.replace(good, **{name: 2e-5})
        assert not gradient_check.are_equal([good, bad])
        assert "2e-05" in gradient_check.comparison([good, bad])
    assert gradient_check.table_of([good]).rows == [["good", "10", "1.0e-15", "1.0e-08"]]
