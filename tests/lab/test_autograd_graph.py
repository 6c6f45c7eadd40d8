"""Memory and operations of an autograd graph."""

import gc

import torch

from charnn.lab.autograd_graph import GraphMemory, count_operations


def test_graph_memory_counts_what_a_graph_holds_until_it_is_deleted() -> None:
    """The two factors of a product, but no weight; nothing once the graph is dropped."""
    memory = GraphMemory()
    weight = torch.ones(1000, requires_grad=True)
    factor = torch.full((1000,), 2.0)
    with memory.tracking():
        result = (weight * factor).exp().sum()
    assert memory.bytes == factor.nbytes + 4000  # the factor, and the exponential itself
    assert count_operations(result) == 4  # sum, exp, times, and the weight's own gradient

    (gradient,) = torch.autograd.grad(result, weight, retain_graph=True)
    assert torch.allclose(gradient, 2 * torch.exp(factor))
    assert memory.bytes > 0
    del result
    gc.collect()
    assert memory.bytes == 0
