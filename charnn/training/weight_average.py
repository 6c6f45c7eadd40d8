"""A running average of the weights over the end of a run.

Averaged weights often predict better than the last ones, for the steps around a minimum cancel out
(Polyak and Juditsky, 1992; Merity, Keskar and Socher, 2018, for recurrent language models).
"""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class WeightAverage:
    """Exponential average of named weights, begun at the first `update`."""

    def __init__(self) -> None:
        self.updates = 0
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor], horizon: int) -> None:
        """Take in the weights of this step.

        The average looks back over about `horizon` steps; until so many have been seen it is
        their plain mean.
        """
        self.updates += 1
        if not self.tensors:
            self.tensors = {name: weight.detach().clone() for name, weight in weights.items()}
            return
        share = 1 / max(1, min(self.updates, horizon))
        for name, average in self.tensors.items():
            average.lerp_(weights[name], share)

    @contextlib.contextmanager
    @torch.no_grad()
    def swapped_in(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside the block `weights` hold the average; afterwards their own values again."""
        own = {name: weight.clone() for name, weight in weights.items()}
        _copy(self.tensors, weights)
        try:
            yield
        finally:
            _copy(own, weights)


@torch.no_grad()
def _copy(values: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    for name, tensor in into.items():
        tensor.copy_(values[name])
