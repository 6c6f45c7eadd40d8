"""Memory and operations of an autograd graph."""

import gc

import torch

from charnn.lab.autograd_graph import GraphMemory, count_operations


def test_graph_memory_counts_saved_tensors_until_the_graph_is_deleted() -> None:
    """The factors of a product except weights; 0 after deletion."""
    memory = GraphMemory()
    weight = torch.ones(1000, requires_grad=True)
    factor = torch.full((1000,), 2.0)
    with memory.tracking():
        result = (weight * factor).exp().sum()
    assert memory.bytes == factor.nbytes + 4000  # the factor and the exponential
    assert count_operations(result) == 4  # sum, exp, times, and the gradient of the weight

    (gradient,) = torch.autograd.grad(result, weight, retain_graph=True)
    assert torch.allclose(gradient, 2 * torch.exp(factor))
    assert memory.bytes > 0
    del result
    gc.collect()
    assert memory.bytes == 0
