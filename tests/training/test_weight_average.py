"""The average of the weights: its values, and the network that has them."""

import pytest
import torch

from charnn.training.weight_average import WeightAverage


def test_an_average_is_the_mean_in_a_network_of_its_own(make_model) -> None:
    """The plain mean up to the horizon; the weights in training stay as they are."""
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
