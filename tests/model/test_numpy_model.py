"""The NumPy model against the equations in float64, and its methods against each other."""

import numpy as np
import pytest
import torch

from charnn.config import ModelConfig
from charnn.model import numpy_model
from charnn.model.numpy_cells import CELLS
from charnn.model.numpy_model import NumpyModel
from tests.tiny import random_tensors, tiny_config, tiny_model

EVERY_CELL = pytest.mark.parametrize("cell", sorted(CELLS))
DEPTHS = pytest.mark.parametrize("num_layers", [1, 2, 3])
TYING = pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
TABLE = pytest.mark.parametrize("table", [False, True], ids=["products", "table"])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn(x, h, w, u, b):
    return (np.tanh(w @ x + u @ h[0] + b),)


def lstm(x, state, w, u, b):
    h, c = state
    i, f, g, o = np.split(w @ x + u @ h + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x, state, w, u, b):
    (h,) = state
    (wr, wz, wn), (ur, uz, un), (br, bz, bn) = np.split(w, 3), np.split(u, 3), np.split(b, 3)
    r = sigmoid(wr @ x + ur @ h + br)
    z = sigmoid(wz @ x + uz @ h + bz)
    n = np.tanh(wn @ x + bn + r * (un @ h))
    return ((1 - z) * n + z * h,)


EQUATIONS = {"rnn": (rnn, 1), "lstm": (lstm, 2), "gru": (gru, 1)}


def reference(config, tensors, ids):
    """Return the logits after each id, (T, V), and the last state, by the equations in float64."""
    exact = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    advance, parts = EQUATIONS[config.cell]
    states = [(np.zeros(config.hidden_size),) * parts for _ in range(config.num_layers)]
    output = exact["embedding.weight" if config.tie_weights else "output.weight"]
    logits = []
    for token in ids:
        x = exact["embedding.weight"][token]
        for layer in range(config.num_layers):
            names = (f"layers.{layer}.{name}" for name in ("weight_ih", "weight_hh", "bias"))
            states[layer] = advance(x, states[layer], *(exact[name] for name in names))
            x = states[layer][0]
        logits.append(output @ x + exact["output.bias"])
    return np.array(logits), [part for state in states for part in state]


@EVERY_CELL
@DEPTHS
@TYING
@TABLE
def test_steps_match_the_equations(monkeypatch, cell, num_layers, tie, table) -> None:
    """For every cell, depth and tying, also after a long text."""
    if not table:
        monkeypatch.setattr(numpy_model, "TABLE_LIMIT", 0)
    config = tiny_config(cell, num_layers, tie=tie)
    tensors = random_tensors(config)
    ids = np.random.default_rng(2).integers(0, config.vocab_size, 300)
    expected, expected_state = reference(config, tensors, ids)
    network = NumpyModel(config, tensors)
    streams = network.streams(network.initial_state())
    logits = [streams.step(ids[time : time + 1])[0].copy() for time in range(len(ids))]

    assert (network.table is not None) == table
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        [part[0] for part in streams.state], expected_state, rtol=0, atol=1e-5
    )


@EVERY_CELL
@DEPTHS
@TYING
def test_steps_match_the_torch_model(make_model, cell, num_layers, tie) -> None:
    """Both compute the same logits from the same weights."""
    model = make_model(cell, num_layers, tie=tie).eval()
    ids = torch.arange(60)[None] * 7 % 11
    with torch.no_grad():
        expected, _ = model(ids, model.initial_state(1))
    tensors = {name: tensor.detach().numpy() for name, tensor in model.named_tensors().items()}
    network = NumpyModel(model.config, tensors)
    streams = network.streams(network.initial_state())
    logits = [streams.step(ids[0, time : time + 1].numpy())[0].copy() for time in range(60)]

    np.testing.assert_allclose(logits, expected[0], rtol=0, atol=1e-5)


@EVERY_CELL
@TABLE
@pytest.mark.parametrize("streams", [1, 5])
def test_feed_equals_steps(monkeypatch, cell, table, streams) -> None:
    """`feed` gives the state and logits of token-by-token steps."""
    if not table:
        monkeypatch.setattr(numpy_model, "TABLE_LIMIT", 0)
    monkeypatch.setattr(numpy_model, "CHUNK_LIMIT", 28 * 10)  # several chunks, the last one shorter
    network = tiny_model(cell, 3)
    ids = np.random.default_rng(3).integers(0, 11, (streams, 47))
    one_by_one = network.streams(network.initial_state(streams))
    for column in ids.T:
        expected = one_by_one.step(column)
    in_bulk = network.streams(network.initial_state(streams))
    logits = in_bulk.feed(ids)

    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    for part, expected_part in zip(in_bulk.state, one_by_one.state, strict=True):
        np.testing.assert_allclose(part, expected_part, rtol=0, atol=1e-5)


@EVERY_CELL
@pytest.mark.parametrize("streams", [1, 4])
def test_log_probs_match_the_equations(cell, streams) -> None:
    """The logarithm of the softmax at each target, for each text."""
    config = tiny_config(cell, 2)
    tensors = random_tensors(config)
    ids, targets = np.random.default_rng(4).integers(0, 11, (2, streams, 25))
    network = NumpyModel(config, tensors)
    scored = network.streams(network.initial_state(streams)).log_probs(ids, targets)
    for row, target, log_prob in zip(ids, targets, scored, strict=True):
        logits, _ = reference(config, tensors, row)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(np.exp(log_prob), p[np.arange(25), target], atol=1e-5)


@pytest.mark.parametrize("streams", [1, 4])
def test_negative_target_has_no_log_prob(streams) -> None:
    """Its result is NaN; all other results are unchanged."""
    network = tiny_model("lstm")
    ids, targets = np.random.default_rng(4).integers(0, 11, (2, streams, 25))
    masked = np.where(targets == 3, -1, targets)
    whole, scored = (
        network.streams(network.initial_state(streams)).log_probs(ids, some)
        for some in (targets, masked)
    )

    assert (masked < 0).any()
    np.testing.assert_array_equal(scored, np.where(masked < 0, np.nan, whole))


@EVERY_CELL
def test_streams_are_independent(cell) -> None:
    """A stream in a batch has the results of a single stream."""
    network = tiny_model(cell, 2)
    ids = np.random.default_rng(5).integers(0, 11, (6, 30))
    batch = network.streams(network.initial_state(6))
    together = batch.feed(ids).copy()
    alone = [network.streams(network.initial_state()).feed(row[None])[0].copy() for row in ids]

    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


@EVERY_CELL
def test_state_is_a_copy(cell) -> None:
    """A returned state does not change, and any stream can continue from it."""
    network = tiny_model(cell, 2)
    ids = np.random.default_rng(6).integers(0, 11, 12)
    first = network.streams(network.initial_state())
    first.feed(ids[None, :8])
    state = first.state
    kept = [part.copy() for part in state]
    expected = first.feed(ids[None, 8:]).copy()
    others = network.streams(network.initial_state(3))
    others.feed(np.zeros((3, 5), int))
    others.put(slice(1, 2), state)
    predicted = others.predict()[1].copy()
    resumed = others.feed(np.tile(ids[8:], (3, 1)))[1]

    assert all(np.array_equal(part, copy) for part, copy in zip(state, kept, strict=True))
    np.testing.assert_allclose(resumed, expected[0], rtol=0, atol=1e-5)
    again = network.streams(state).predict()[0]
    np.testing.assert_allclose(predicted, again, rtol=0, atol=1e-6)


def test_weights_are_not_modified() -> None:
    """The tensors of the model file are unchanged."""
    config = tiny_config("lstm", 2)
    tensors = random_tensors(config)
    before = {name: tensor.copy() for name, tensor in tensors.items()}
    network = NumpyModel(config, tensors)
    network.streams(network.initial_state()).feed(np.zeros((1, 9), int))

    assert all(np.array_equal(tensor, before[name]) for name, tensor in tensors.items())


def test_ids_of_any_integer_dtype() -> None:
    """Ids can be of the types of tokenizers, files and samplers."""
    network = tiny_model("gru", 1)
    for dtype in ("<u1", "<u2", "<u4", "i8"):
        ids = np.array([[3, 1, 10]], dtype)
        logits = network.streams(network.initial_state()).feed(ids)
        twice = network.streams(network.initial_state(2)).feed(np.repeat(ids, 2, axis=0))

        np.testing.assert_allclose(twice[0], logits[0], rtol=0, atol=1e-6)


def test_vocabulary_of_one() -> None:
    """The smallest possible network."""
    config = ModelConfig(
        cell="rnn", hidden_size=1, num_layers=1, embedding_dim=1, tie_weights=True, vocab_size=1
    )
    network = NumpyModel(config, random_tensors(config))

    assert network.streams(network.initial_state()).step(np.array([0])).shape == (1, 1)
