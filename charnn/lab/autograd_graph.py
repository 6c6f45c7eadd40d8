"""Measure autograd graphs: number of operations and bytes they hold."""

from torch import Tensor
from torch.autograd.graph import Node, saved_tensors_hooks


class Held:
    """Counts the bytes that autograd's graphs hold, inside a `with self.watching()`."""

    def __init__(self) -> None:
        self.bytes = 0

    def watching(self) -> saved_tensors_hooks:
        """A context in which whatever a new operation keeps for its gradient is counted."""
        return saved_tensors_hooks(self._pack, lambda kept: kept.tensor)

    def _pack(self, tensor: Tensor) -> "_Kept":
        return _Kept(tensor, self)


class _Kept:
    """A tensor in a graph; gone when the graph lets go of it. Weights are there anyway."""

    def __init__(self, tensor: Tensor, held: Held) -> None:
        self.tensor = tensor.detach()  # else an operation that keeps its own result keeps itself
        self._held = held
        self._bytes = 0 if tensor.is_leaf and tensor.requires_grad else tensor.nbytes
        held.bytes += self._bytes

    def __del__(self) -> None:
        self._held.bytes -= self._bytes


def operations(result: Tensor) -> int:
    """How many operations a gradient of `result` has to walk through."""
    seen: set[Node] = set()
    ahead = [result.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [before for before, _ in node.next_functions]
    return len(seen)
