"""Measure autograd graphs: number of operations and bytes they hold."""

from torch import Tensor
from torch.autograd.graph import Node, saved_tensors_hooks


class GraphMemory:
    """Counts the bytes held by autograd graphs that are built inside `with memory.tracking()`."""

    def __init__(self) -> None:
        self.bytes = 0

    def tracking(self) -> saved_tensors_hooks:
        """Return a context in which the tensors that operations save for backward are counted."""
        return saved_tensors_hooks(self._pack, lambda saved: saved.tensor)

    def _pack(self, tensor: Tensor) -> "_SavedTensor":
        return _SavedTensor(tensor, self)


class _SavedTensor:
    """A tensor held by a graph, deleted with the graph. Parameters count as zero bytes."""

    def __init__(self, tensor: Tensor, memory: GraphMemory) -> None:
        # Detached: an operation that saves its own result would otherwise hold itself.
        self.tensor = tensor.detach()
        self._memory = memory
        self._bytes = 0 if tensor.is_leaf and tensor.requires_grad else tensor.nbytes
        memory.bytes += self._bytes

    def __del__(self) -> None:
        self._memory.bytes -= self._bytes


def count_operations(result: Tensor) -> int:
    """Return the number of operations in the graph of `result`."""
    seen: set[Node] = set()
    waiting = [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [previous for previous, _ in node.next_functions]
    return len(seen)
