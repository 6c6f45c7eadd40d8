"""What is dropped, penalised and averaged in training, against the definitions."""

import math

import pytest
import torch
from torch.nn import functional as F

from charnn.model.layers import LAYERS
from charnn.training.weight_average import WeightAverage
from tests.training.test_loop import start


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_weight_drop_is_the_layer_with_dropped_recurrent_weights(name) -> None:
    """The same mask put into the weights by hand gives the same outputs; in eval nothing drops."""
    layer = LAYERS[name](4, 6, weight_dropout=0.5)
    inputs, state = torch.randn(2, 5, 4), layer.initial_state(2)
    torch.manual_seed(3)
    outputs, _ = layer(inputs, state)

    by_hand = LAYERS[name](4, 6)
    by_hand.load_state_dict(layer.state_dict())
    torch.manual_seed(3)
    with torch.no_grad():
        by_hand.weight_hh.copy_(F.dropout(layer.weight_hh, 0.5))
    torch.testing.assert_close(outputs, by_hand(inputs, state)[0])
    assert not torch.allclose(outputs, layer.eval()(inputs, state)[0])


def test_embedding_dropout_takes_a_symbol_away_from_the_whole_batch(make_model) -> None:
    """An embedding is zero wherever its symbol stands, or scaled up everywhere."""
    model = make_model(embeddings=0.5)
    inputs = torch.arange(11).repeat(4, 3)
    torch.manual_seed(1)
    ratio = (model._embed(inputs) / model.embedding.weight[inputs]).mean(dim=-1)

    for symbol in range(11):
        values = ratio[inputs == symbol]
        assert torch.allclose(values, values[0].expand_as(values))
        assert values[0].item() in (0.0, pytest.approx(2.0, rel=1e-5))


def test_activation_penalties_are_their_formulas(make_model, ids) -> None:
    """alpha times the mean square of the dropped outputs, beta times that of the changes."""
    training = start(make_model(), ids, activation_reg=2.0, temporal_reg=3.0)
    dropped, outputs = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    changes = outputs[:, 1:] - outputs[:, :-1]

    expected = 2 * dropped.square().mean() + 3 * changes.square().mean()
    torch.testing.assert_close(training._penalty(dropped, outputs), expected)


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


def test_patience_ends_a_run_that_does_not_improve(make_model, ids) -> None:
    """Three validations without a better one, and no step more."""
    from charnn.evaluation.metrics import Score
    from charnn.training.loop import train

    training = start(make_model(), ids, steps=100, eval_every=2, patience=3)
    list(train(training, lambda _: iter([Score(nats=1.0, tokens=1)])))

    assert training.counters.step == 2 + 3 * 2
    assert math.isclose(training.counters.best_loss, 1.0)
