"""The average of the weights, and a network with it."""

import pytest
import torch

from charnn.training.weight_average import WeightAverage


def test_average_is_a_separate_network(make_model) -> None:
    """The plain mean up to the horizon; the weights in training do not change."""
    model, average = make_model(), WeightAverage()
    bias = model.output.bias
    for value in (1.0, 2.0, 6.0):
        with torch.no_grad():
            bias.fill_(value)
        average.update(model.named_tensors(), horizon=100)

    network = average.network(model)
    assert network.output.bias.tolist() == pytest.approx([3.0] * len(bias))
    assert bias.tolist() == [6.0] * len(bias)
    average.update(model.named_tensors(), horizon=100)
    assert average.network(model).output.bias.tolist() == pytest.approx([3.75] * len(bias))
