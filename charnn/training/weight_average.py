"""A running average of the weights over the end of a run.

Averaged weights often have a lower loss than the last ones, because the noise of the last steps
averages out (Polyak and Juditsky, 1992; for recurrent language models Merity, Keskar and Socher,
2018).
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from charnn.model.language_model import LanguageModel


class WeightAverage:
    """An exponential moving average of named weights that starts at the first `update`."""

    def __init__(self) -> None:
        self.updates = 0
        self.tensors: dict[str, Tensor] = {}
        self._network: LanguageModel | None = None

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor], horizon: int) -> None:
        """Add the weights of this step.

        The average is over about the last `horizon` steps; at first it is the plain mean.
        """
        self.updates += 1
        if not self.tensors:
            self.tensors = {name: weight.detach().clone() for name, weight in weights.items()}
            return
        fraction = 1 / max(1, min(self.updates, horizon))
        for name, average in self.tensors.items():
            average.lerp_(weights[name], fraction)

    def network(self, model: LanguageModel) -> LanguageModel:
        """Return a copy of `model` with the average of the weights."""
        if self._network is None:
            self._network = copy.deepcopy(model)
        self._network.load_tensors(self.tensors)
        return self._network
