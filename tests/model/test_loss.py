"""The loss: targets that are excluded, and sampled softmax compared with the full one."""

import math

import pytest
import torch
from torch import nn

from charnn.model import loss as loss_module
from charnn.model.loss import mean_nats, sampled_nats

VOCABULARY, WIDTH = 50, 6


@pytest.fixture
def parts():
    """Return (outputs, layer, targets); two targets are negative."""
    torch.manual_seed(0)
    layer = nn.Linear(WIDTH, VOCABULARY)
    outputs = torch.randn(3, 7, WIDTH, requires_grad=True)
    targets = torch.randint(0, 12, (3, 7))
    targets[0, 0], targets[1, 1] = -1, -100
    return outputs, layer, targets


def test_negative_targets_are_excluded() -> None:
    """The mean is over the others; without any the loss is 0, not NaN."""
    logits = torch.randn(1, 4, 5, requires_grad=True)
    loss = mean_nats(logits, torch.tensor([[1, -1, -100, 2]]))
    log_probs = torch.log_softmax(logits, dim=-1)

    torch.testing.assert_close(loss, -(log_probs[0, 0, 1] + log_probs[0, 3, 2]) / 2)
    assert mean_nats(logits, torch.full((1, 4), -1)) == 0


def gradients(loss, outputs, layer):
    return torch.autograd.grad(loss, [outputs, layer.weight, layer.bias])


@pytest.mark.parametrize("samples", [VOCABULARY, 42])
def test_sampling_all_tokens_gives_the_exact_loss(parts, samples) -> None:
    """Loss and gradient equal those of the full softmax."""
    outputs, layer, targets = parts
    exact = mean_nats(layer(outputs), targets)
    sampled, bias = sampled_nats(*parts, samples)

    assert bias == 0
    assert sampled.item() == pytest.approx(exact.item(), rel=1e-5)
    pairs = zip(gradients(sampled, outputs, layer), gradients(exact, outputs, layer), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_estimated_denominator_is_unbiased(parts) -> None:
    """exp(loss) is proportional to the denominator, whose mean is the exact value."""
    outputs, layer, targets = parts[0][:1, :1], parts[1], torch.tensor([[5]])
    exact = math.exp(mean_nats(layer(outputs), targets).item())
    draws = [math.exp(sampled_nats(outputs, layer, targets, 8)[0].item()) for _ in range(3000)]

    assert sum(draws) / len(draws) == pytest.approx(exact, rel=0.02)
    assert len({round(draw, 4) for draw in draws}) > 100


def test_only_targets_and_samples_get_gradients(parts) -> None:
    """The targets of the batch, and S other tokens."""
    outputs, layer, targets = parts
    _, weight, _ = gradients(sampled_nats(*parts, 10)[0], outputs, layer)
    moved = weight.abs().sum(1) > 0
    used = targets[targets >= 0].unique()

    assert moved[used].all()
    assert int(moved.sum()) == len(used) + 10


def test_batch_without_targets_has_zero_loss(parts) -> None:
    """The gradients are finite."""
    outputs, layer, targets = parts
    loss, bias = sampled_nats(outputs, layer, torch.full_like(targets, -1), 10)

    assert loss.item() == bias.item() == 0
    assert all(g.isfinite().all() for g in gradients(loss, outputs, layer))


def test_estimate_plus_its_bias_is_close_to_the_exact_loss(monkeypatch) -> None:
    """The estimate alone is too low (Jensen's inequality); the sum removes most of the error."""
    monkeypatch.setattr(loss_module, "BIAS_STRIDE", 1)
    torch.manual_seed(3)
    layer = nn.Linear(16, 2000)
    outputs, targets = 2 * torch.randn(1, 64, 16), torch.randint(0, 30, (1, 64))
    exact = mean_nats(layer(outputs), targets).item()
    draws = [sampled_nats(outputs, layer, targets, 100) for _ in range(300)]
    estimate = sum(loss.item() for loss, _ in draws) / len(draws)
    corrected = sum((loss + bias).item() for loss, bias in draws) / len(draws)

    assert estimate < exact - 0.005
    assert abs(corrected - exact) < 0.5 * (exact - estimate)
