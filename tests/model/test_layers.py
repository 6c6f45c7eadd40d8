"""Recurrent layers against the textbook equations, step by step."""

import math

import pytest
import torch
from torch.nn import functional as F

from charnn.model.layers import LAYERS, SequenceDropout

EVERY_CELL = pytest.mark.parametrize("name", sorted(LAYERS))


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def rnn_step(layer, x, state):
    (h,) = state
    return (torch.tanh(x @ layer.weight_ih.T + h @ layer.weight_hh.T + layer.bias),)


def gru_step(layer, x, state):
    (h,) = state
    w_r, w_z, w_n = layer.weight_ih.chunk(3)
    u_r, u_z, u_n = layer.weight_hh.chunk(3)
    b_r, b_z, b_n = layer.bias.chunk(3)
    r = sigmoid(x @ w_r.T + h @ u_r.T + b_r)
    z = sigmoid(x @ w_z.T + h @ u_z.T + b_z)
    n = torch.tanh(x @ w_n.T + b_n + r * (h @ u_n.T))
    return ((1 - z) * n + z * h,)


def lstm_step(layer, x, state):
    h, c = state
    parts = (x @ layer.weight_ih.T + h @ layer.weight_hh.T + layer.bias).chunk(4, dim=1)
    i, f, g, o = sigmoid(parts[0]), sigmoid(parts[1]), torch.tanh(parts[2]), sigmoid(parts[3])
    c = f * c + i * g
    return o * torch.tanh(c), c


STEPS = {"rnn": rnn_step, "gru": gru_step, "lstm": lstm_step}


def layer_of(name, input_size=4, hidden_size=6):
    torch.manual_seed(2)
    layer = LAYERS[name](input_size, hidden_size)
    with torch.no_grad():
        layer.bias.add_(torch.randn_like(layer.bias))
    return layer.double()


def random_state(layer, batch_size):
    return tuple(torch.randn(batch_size, 6, dtype=torch.float64) for _ in layer.spec.state)


@EVERY_CELL
def test_layer_matches_the_equations(name) -> None:
    """Outputs, state and gradients of T steps equal those of an explicit loop."""
    layer = layer_of(name)
    inputs, state = torch.randn(3, 9, 4, dtype=torch.float64), random_state(layer, 3)
    outputs, final = layer(inputs, state)

    expected, slow = [], state
    for t in range(9):
        slow = STEPS[name](layer, inputs[:, t], slow)
        expected.append(slow[0])
    expected = torch.stack(expected, dim=1)

    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-10)
    for part, slow_part in zip(final, slow, strict=True):
        torch.testing.assert_close(part, slow_part, rtol=0, atol=1e-10)
    weights = [layer.weight_ih, layer.weight_hh, layer.bias]
    for fast, plain in zip(
        torch.autograd.grad(outputs.square().sum(), weights),
        torch.autograd.grad(expected.square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(fast, plain, rtol=0, atol=1e-9)


@EVERY_CELL
def test_carried_state_equals_one_pass(name) -> None:
    """Two parts with carried state give the outputs of the whole."""
    layer = layer_of(name)
    inputs, state = torch.randn(2, 10, 4, dtype=torch.float64), random_state(layer, 2)
    whole, _ = layer(inputs, state)
    first, between = layer(inputs[:, :4], state)
    second, _ = layer(inputs[:, 4:], between)

    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=0, atol=1e-12)


@EVERY_CELL
def test_initial_weights_and_biases(name) -> None:
    """Orthogonal recurrent blocks; biases of keeping gates from -3 to 3, writing gates opposite."""
    layer = LAYERS[name](4, 6)

    for block in layer.weight_hh.chunk(len(layer.spec.gates)):
        torch.testing.assert_close(block @ block.T, torch.eye(6), rtol=0, atol=1e-5)
    spread, zeros = torch.linspace(-3, 3, 6), torch.zeros(6)
    expected = {
        "rnn": [zeros],
        "lstm": [-spread, spread, zeros, zeros],
        "gru": [zeros, spread, zeros],
    }
    assert torch.equal(layer.bias, torch.cat(expected[name]))


@EVERY_CELL
def test_second_bias_is_frozen_at_zero(name) -> None:
    """The fused layer has only one trainable bias."""
    second = LAYERS[name](4, 6).fused_layer.bias_hh_l0

    assert not second.requires_grad
    assert not second.any()


@EVERY_CELL
def test_cuda_matches_cpu(name) -> None:
    """The outputs agree to float32 precision."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    layer = layer_of(name).float()
    inputs, state = torch.randn(3, 9, 4), tuple(s.float() for s in random_state(layer, 3))
    expected, _ = layer(inputs, state)
    actual, _ = layer.cuda()(inputs.cuda(), tuple(part.cuda() for part in state))

    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-4, atol=1e-5)


def test_sequence_dropout_uses_one_mask_per_row() -> None:
    """A feature is dropped at all steps of a row or at none, and the mean is kept."""
    torch.manual_seed(0)
    dropout = SequenceDropout(0.3)
    outputs = dropout(torch.ones(200, 5, 50))

    assert torch.equal(outputs, outputs[:, :1].expand_as(outputs))
    assert set(outputs.unique().tolist()) == {0.0, outputs.max().item()}
    assert math.isclose(outputs.max().item(), 1 / 0.7, rel_tol=1e-6)
    assert math.isclose(outputs.mean().item(), 1, abs_tol=0.02)


def test_sequence_dropout_is_the_identity_in_eval_mode() -> None:
    """No feature is dropped or scaled."""
    inputs = torch.randn(2, 3, 4)

    assert torch.equal(SequenceDropout(0.5).eval()(inputs), inputs)


@EVERY_CELL
def test_bfloat16_copies_match_float32(name) -> None:
    """On a GPU the layer casts its weights itself, because autocast would use float16."""
    layer = layer_of(name).float()
    inputs, state = torch.randn(3, 9, 4), tuple(p.float() for p in random_state(layer, 3))
    outputs, after = layer(inputs, state)
    before = tuple(part.unsqueeze(0) for part in state)
    reduced, *reduced_after = layer._run_with_copies(inputs, before, torch.bfloat16)
    (gradient,) = torch.autograd.grad(outputs.sum(), [layer.weight_hh])
    (reduced_gradient,) = torch.autograd.grad(reduced.sum(), [layer.weight_hh])

    assert {reduced.dtype, *(part.dtype for part in reduced_after)} == {torch.bfloat16}
    torch.testing.assert_close(reduced.float(), outputs, atol=0.03, rtol=0.03)
    for mine, theirs in zip(after, reduced_after, strict=True):
        torch.testing.assert_close(theirs[0].float(), mine, atol=0.06, rtol=0.03)
    assert reduced_gradient.dtype == torch.float32
    assert (reduced_gradient - gradient).norm() < 0.05 * gradient.norm()


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_weight_dropout_drops_recurrent_weights(name) -> None:
    """The same mask applied to the weights gives the same outputs; eval mode drops nothing."""
    layer = LAYERS[name](4, 6, weight_dropout=0.5)
    inputs, state = torch.randn(2, 5, 4), layer.initial_state(2)
    torch.manual_seed(3)
    outputs, _ = layer(inputs, state)

    by_hand = LAYERS[name](4, 6)
    by_hand.load_state_dict(layer.state_dict())
    torch.manual_seed(3)
    with torch.no_grad():
        by_hand.weight_hh.copy_(F.dropout(layer.weight_hh, 0.5))
    torch.testing.assert_close(outputs, by_hand(inputs, state)[0])
    assert not torch.allclose(outputs, layer.eval()(inputs, state)[0])
