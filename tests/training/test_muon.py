"""Muon: orthogonalized momentum of each gate."""

import pytest
import torch

from charnn.training.muon import orthogonalize


@pytest.mark.parametrize("shape", [(4, 16, 16), (3, 16, 8), (1, 8, 16)])
def test_update_of_each_gate_is_nearly_orthogonal(shape) -> None:
    """Singular values over two orders of magnitude become close to 1; singular vectors are kept."""
    torch.manual_seed(1)
    rank = min(shape[1:])
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    sizes = torch.logspace(-1.5, 0, rank)
    found = orthogonalize(1e3 * (u * sizes) @ v)

    assert torch.linalg.svdvals(found).min() > 0.55
    assert torch.linalg.svdvals(found).max() < 1.45
    assert (found * (u @ v)).sum() / (found.norm() * (u @ v).norm()) > 0.95


def test_gradients_of_any_size_are_finite() -> None:
    """Zero remains zero; very large and very small gradients do not overflow."""
    assert not orthogonalize(torch.zeros(2, 4, 4)).any()
    for size in (1e-30, 1e30):
        assert orthogonalize(size * torch.eye(4)[None]).isfinite().all()
