"""The loss: targets that are not scored, and sampled softmax against the full one."""

import math

import pytest
import torch
from torch import nn

from charnn.model.loss import mean_nats, sampled_nats

VOCABULARY, WIDTH = 50, 6


@pytest.fixture
def parts():
    """(outputs, layer, targets), two of them negative."""
    torch.manual_seed(0)
    layer = nn.Linear(WIDTH, VOCABULARY)
    outputs = torch.randn(3, 7, WIDTH, requires_grad=True)
    targets = torch.randint(0, 12, (3, 7))
    targets[0, 0], targets[1, 1] = -1, -100
    return outputs, layer, targets


def test_negative_targets_are_not_scored() -> None:
    """The mean is over the others; without any it is zero, not NaN."""
    logits = torch.randn(1, 4, 5, requires_grad=True)
    loss = mean_nats(logits, torch.tensor([[1, -1, -100, 2]]))
    log_probs = torch.log_softmax(logits, dim=-1)

    torch.testing.assert_close(loss, -(log_probs[0, 0, 1] + log_probs[0, 3, 2]) / 2)
    assert mean_nats(logits, torch.full((1, 4), -1)) == 0


def gradients(loss, outputs, layer):
    return torch.autograd.grad(loss, [outputs, layer.weight, layer.bias])


@pytest.mark.parametrize("samples", [VOCABULARY, 42])
def test_with_nothing_left_out_it_is_the_loss(parts, samples) -> None:
    """So many symbols that all are drawn: the same loss and gradient."""
    outputs, layer, targets = parts
    exact = mean_nats(layer(outputs), targets)
    sampled = sampled_nats(*parts, samples)

    assert sampled.item() == pytest.approx(exact.item(), rel=1e-5)
    pairs = zip(gradients(sampled, outputs, layer), gradients(exact, outputs, layer), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_the_sum_over_the_vocabulary_is_right_on_average(parts) -> None:
    """exp of the nats has the softmax's sum as a factor, and its mean is that of the whole."""
    outputs, layer, targets = parts[0][:1, :1], parts[1], torch.tensor([[5]])
    exact = math.exp(mean_nats(layer(outputs), targets).item())
    draws = [math.exp(sampled_nats(outputs, layer, targets, 8).item()) for _ in range(3000)]

    assert sum(draws) / len(draws) == pytest.approx(exact, rel=0.02)
    assert len({round(draw, 4) for draw in draws}) > 100


def test_only_what_was_drawn_moves(parts) -> None:
    """Targets of the batch always, of the others as many as asked for."""
    outputs, layer, targets = parts
    _, weight, _ = gradients(sampled_nats(*parts, 10), outputs, layer)
    moved = weight.abs().sum(1) > 0
    used = targets[targets >= 0].unique()

    assert moved[used].all()
    assert int(moved.sum()) == len(used) + 10


def test_a_batch_without_a_target_has_no_loss(parts) -> None:
    """Zero, and no gradient that is not finite."""
    outputs, layer, targets = parts
    loss = sampled_nats(outputs, layer, torch.full_like(targets, -1), 10)

    assert loss.item() == 0
    assert all(g.isfinite().all() for g in gradients(loss, outputs, layer))
