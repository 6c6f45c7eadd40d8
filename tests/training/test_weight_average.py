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


def test_average_beyond_the_horizon_is_exponential() -> None:
    """Each update moves it by 1 / horizon of the way to the weights."""
    average, expected = WeightAverage(), 0.0
    for number in range(1, 21):
        value = float(number % 7)
        average.update({"w": torch.tensor([value])}, horizon=5)
        expected += (value - expected) / min(number, 5)

    assert average.tensors["w"].item() == pytest.approx(expected)
