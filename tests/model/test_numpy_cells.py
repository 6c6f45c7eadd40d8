"""NumPy cells: layout of the weights, and the two ways to compute a step."""

import numpy as np
import pytest

from charnn.model.numpy_cells import CELLS, HALF

H, D, B = 3, 2, 4
EVERY_CELL = pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))


def weights(cell, seed=1):
    """Return weights as in a model file: (G·H, D), (G·H, H), (G·H,)."""
    generator = np.random.default_rng(seed)
    rows = len(cell.order) * H
    shapes = (rows, D), (rows, H), (rows,)
    return [generator.standard_normal(shape).astype(np.float32) for shape in shapes]


def random_cell(cell, seed=2):
    """Return a cell with a random input and a random state."""
    generator = np.random.default_rng(seed)
    operand = generator.standard_normal((D + H, B)).astype(np.float32)
    one = cell(cell.lay_out(*weights(cell)), operand)
    for part in one.state[1:]:
        part[:] = generator.standard_normal(part.shape)
    return one


@EVERY_CELL
def test_lay_out_reorders_and_scales_the_weights(cell) -> None:
    """Gate blocks are permuted, and those of sigmoid gates are halved exactly."""
    from_input, from_hidden, bias = weights(cell)
    layer = cell.lay_out(from_input, from_hidden, bias)
    joined = np.concatenate([from_input, from_hidden, bias[:, None]], axis=1)
    blocks = np.split(joined, len(cell.order))
    expected = [
        blocks[cell.spec.gates.index(gate)] * (HALF if place < cell.num_sigmoids else 1)
        for place, gate in enumerate(cell.order)
    ]

    assert np.array_equal(np.concatenate(expected)[:, :-1], layer.joined)
    assert np.array_equal(np.concatenate(expected)[:, -1], layer.bias)
    assert np.shares_memory(layer.from_input, layer.joined)
    assert np.shares_memory(layer.from_hidden, layer.joined)


@EVERY_CELL
def test_step_equals_recur(cell) -> None:
    """One product of input and state, or a given input product: the same state."""
    at_once, prepared = random_cell(cell), random_cell(cell)
    product = prepared.layer.from_input @ prepared.inputs + prepared.layer.bias[:, None]
    at_once.step()
    prepared.recur(product)

    for part, other in zip(at_once.state, prepared.state, strict=True):
        np.testing.assert_allclose(part, other, rtol=0, atol=1e-6)


@EVERY_CELL
def test_hidden_state_is_a_view_of_the_operand(cell) -> None:
    """A step updates the operand in place and does not change the input."""
    one = random_cell(cell)
    inputs = one.inputs.copy()
    before = one.hidden.copy()
    one.step()

    assert np.shares_memory(one.state[0], one.operand)
    assert np.array_equal(one.inputs, inputs)
    assert not np.array_equal(one.operand[D:], before)
    assert len(one.state) == len(cell.spec.state)
