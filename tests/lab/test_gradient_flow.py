"""Norms of gradients at known gains, and against autograd one state at a time."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.lab import gradient_flow, gradients


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 3), st.integers(1, 12), st.integers(1, 10), st.integers(0, 1000))
def test_at_h_0_a_gradient_is_multiplied_by_the_spectral_norm(gain, width, tokens, seed) -> None:
    """At every token: below 1 it vanishes, above 1 it explodes."""
    model = gradients.new_model("rnn", width, seed)
    gradient_flow.scale_recurrent(model, gain)
    gradient_flow.zero_inputs(model)
    text = torch.zeros(2, 2 * tokens + 1, dtype=torch.long)
    norms = gradient_flow.gradient_norms(model, text, tokens)["h_0"]

    assert gradient_flow.spectral_norms(model)["W_hh_0"] == pytest.approx(gain)
    np.testing.assert_allclose(norms, norms[0] * gain ** np.arange(tokens), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 0.95), st.integers(2, 12), st.integers(0, 1000))
def test_below_a_spectral_norm_of_1_gradients_vanish_for_any_text(gain, width, seed) -> None:
    """The norm at lag k + 1 is at most `gain` times that at lag k."""
    model = gradients.new_model("rnn", width, seed)
    gradient_flow.scale_recurrent(model, gain)
    text = torch.randint(32, (1, 21))
    norms = gradient_flow.gradient_norms(model, text, 10)["h_0"]
    for after, before in itertools.pairwise(norms):
        assert before <= gain * after * (1 + 1e-6)  # orthogonal in float32


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_norms_equal_those_of_autograd_for_one_state(make_model, cell, layers) -> None:
    """With the state k tokens earlier as the input of one forward pass."""
    model = make_model(cell, layers).double()
    tokens = torch.randint(11, (3, 10), generator=torch.Generator().manual_seed(4))
    inputs, last = tokens[:, :-1], tokens[:, -1]
    found = gradient_flow.gradient_norms(model, tokens, 4)
    assert list(found) == gradient_flow.state_names(model)
    for k in (1, 2, 4):
        with torch.no_grad():
            _, state = model(inputs[:, : 9 - k], model.initial_state(3))
        state = tuple(part.clone().requires_grad_() for part in state)
        logits, _ = model(inputs[:, 9 - k :], state)
        loss = torch.nn.functional.cross_entropy(logits[:, -1], last, reduction="sum")
        for name, gradient in zip(found, torch.autograd.grad(loss, state), strict=True):
            expected = gradient.norm(dim=1).log().mean().exp()
            assert found[name][k - 1] == pytest.approx(float(expected))


def test_the_factor_is_the_mean_ratio_of_the_second_half() -> None:
    """It is 0 if a gradient is 0."""
    assert gradient_flow.factor_per_token([9.0, 7.0, 8.0, 4.0, 2.0, 1.0]) == pytest.approx(0.5)
    assert gradient_flow.factor_per_token([4.0, 2.0]) == pytest.approx(0.5)
    assert gradient_flow.factor_per_token([1.0, 0.5, 0.0]) == 0
    assert gradient_flow.factor_per_token([1.0]) == 0


@pytest.mark.parametrize(("cell", "gains"), [("lstm", (0.0,)), ("gru", (0.5, 2.0))])
def test_open_gates_keep_the_gradient_constant(cell, gains) -> None:
    """The gradient of c in an LSTM, with W_hh = 0, and of h in a GRU."""
    for gain in gains:
        model = gradients.new_model(cell, 16, seed=1)
        gradient_flow.scale_recurrent(model, gain)
        gradient_flow.open_gates(model, 20.0)
        gradient_flow.zero_inputs(model)
        norms = gradient_flow.gradient_norms(model, torch.zeros(1, 41, dtype=torch.long), 20)
        assert gradient_flow.factor_per_token(
            norms["c_0" if cell == "lstm" else "h_0"]
        ) == pytest.approx(1, abs=1e-6)
