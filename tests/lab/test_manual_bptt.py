"""Gradients by hand against autograd and finite differences."""

from unittest import mock

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charnn.config import ModelConfig
from charnn.lab import gradient_check, manual_bptt
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


@settings(max_examples=12, deadline=None)
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
