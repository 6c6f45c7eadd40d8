"""Muon: orthogonalized momentum of each gate."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.training.muon import MIN_BFLOAT16, MUON_MOMENTUM, GateMuon, orthogonalize

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Spectra of k singular values, the largest of which is 1.
SPECTRA = {
    "flat": torch.ones,
    "one": lambda k: torch.tensor([1.0] + [0.0] * (k - 1)),
    "second 0.05": lambda k: torch.tensor([1.0] + [0.05] * (k - 1)),
    "second 0.1": lambda k: torch.tensor([1.0] + [0.1] * (k - 1)),
    "second 0.2": lambda k: torch.tensor([1.0] + [0.2] * (k - 1)),
    "logarithmic": lambda k: torch.logspace(0, -1, k),
    "linear": lambda k: torch.linspace(1, 0.1, k),
}


@given(
    st.sampled_from(sorted(SPECTRA)),
    st.sampled_from(["float32", "bfloat16"]),
    st.sampled_from([(8, 8), (16, 40), (64, 96), (128, 128), (256, 128)]),
    st.floats(0, 1),
    st.sampled_from([1e-30, 1e-3, 1e3, 1e30]),
    st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_singular_values_become_nearly_one(spectrum, name, shape, rank, size, seed) -> None:
    """None exceeds 1.3, and those above a tenth of the largest become at least 0.7."""
    k = max(1, round(rank * min(shape)))
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(2, shape[0], k, generator=generator))[0]
    v = torch.linalg.qr(torch.randn(2, shape[1], k, generator=generator))[0]
    values = SPECTRA[spectrum](k)
    found = orthogonalize(size * (u * values) @ v.mT, DTYPES[name])
    gains = torch.einsum("gik,gij,gjk->gk", u, found, v)

    assert torch.linalg.svdvals(found).max() < 1.3
    assert gains[:, values > 0.0999].min() > 0.7


def test_singular_vectors_are_kept() -> None:
    """The update has the direction of the nearest orthogonal matrix."""
    torch.manual_seed(1)
    u, _, v = torch.linalg.svd(torch.randn(4, 16, 16))
    found = orthogonalize((u * torch.logspace(-1, 0, 16)) @ v)

    assert (found * (u @ v)).sum() / (found.norm() * (u @ v).norm()) > 0.98


def test_zero_remains_zero() -> None:
    """A gate without a gradient is not updated."""
    assert not orthogonalize(torch.zeros(2, 4, 4)).any()


@pytest.mark.parametrize("size", [MIN_BFLOAT16 // 2, MIN_BFLOAT16])
def test_products_are_in_the_requested_type(monkeypatch, size) -> None:
    """Except for small matrices, whose products are in float32."""
    types = set()
    product = torch.bmm

    def recorded(left, right):
        types.add(left.dtype)
        return product(left, right)

    monkeypatch.setattr(torch, "bmm", recorded)
    orthogonalize(torch.eye(size)[None], torch.bfloat16)

    assert types == {torch.bfloat16 if size >= MIN_BFLOAT16 else torch.float32}


def test_update_is_muon_by_hand() -> None:
    """Momentum, Nesterov step, decoupled decay, scale of tall gates: Jordan et al., 2024."""
    torch.manual_seed(1)
    weight, expected = torch.nn.Parameter(torch.randn(4 * 8, 2)), None
    lr, decay = 0.1, 0.5
    group = {"params": [weight], "gates": 4, "peak_lr": lr}
    optimizer, expected = GateMuon([group], lr, decay), weight.detach().clone()
    momentum = torch.zeros_like(expected)
    for _ in range(3):
        gradient = torch.randn_like(expected)
        weight.grad = gradient
        optimizer.step()
        momentum = MUON_MOMENTUM * momentum + (1 - MUON_MOMENTUM) * gradient
        nesterov = (1 - MUON_MOMENTUM) * gradient + MUON_MOMENTUM * momentum
        expected = expected * (1 - lr * decay)
        for gate in range(4):
            rows = slice(8 * gate, 8 * gate + 8)
            update = orthogonalize(nesterov[rows][None])[0]
            expected[rows] -= lr * math.sqrt(8 / 2) * update

    assert torch.allclose(weight, expected, atol=1e-6)


def test_weights_of_one_shape_are_updated_as_if_alone() -> None:
    """Their blocks are orthogonalized together; the result is that of separate optimizers."""
    torch.manual_seed(1)
    start = [torch.randn(3 * 8, 8) for _ in range(3)]
    gradients = [torch.randn(3 * 8, 8) for _ in range(3)]

    def updated(groups_of):
        weights = [torch.nn.Parameter(tensor.clone()) for tensor in start]
        for group in groups_of(weights):
            optimizer = GateMuon([{"params": group, "gates": 3}], 0.1, 0.0)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            optimizer.step()
        return torch.stack([weight.detach() for weight in weights])

    together, alone = updated(lambda w: [w]), updated(lambda w: [[one] for one in w])
    assert torch.allclose(together, alone, atol=1e-6)
