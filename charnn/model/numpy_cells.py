"""RNN, LSTM and GRU cells in NumPy, one token at a time for B streams.

Arrays are features × streams, so that a block of features is contiguous for any B: gates are
slices, and the input and hidden state of a layer are adjacent rows of one matrix product.

Shapes: B streams, D width of the input, H hidden_size, G gates of a cell.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np

from charnn.arrays import Floats
from charnn.model.spec import CELL_SPECS, CellSpec

HALF = np.array(0.5, np.float32)  # an array: a Python float is converted at every call


class Layer(NamedTuple):
    """The weights of a layer in the layout of its cell: gates reordered, sigmoid gates halved."""

    joined: Floats  # (G·H, D + H)
    from_input: Floats  # (G·H, D), a view into `joined`; D = 0 if a table holds the product
    from_hidden: Floats  # (G·H, H), a view into `joined`
    bias: Floats  # (G·H,)


class Cell(ABC):
    """A layer for B streams: its weights, its part of the state, and its buffers.

    One tanh call computes all gates of a token: σ(x) = ½ tanh(½x) + ½, with the inner ½ folded
    into the weights. The sigmoid gates come first, so that they are one slice.
    """

    spec: ClassVar[CellSpec]
    order: ClassVar[tuple[str, ...]]  # the gates in the order of this cell
    num_sigmoids: ClassVar[int]  # number of sigmoid gates, which come first

    def __init__(self, layer: Layer, operand: Floats) -> None:
        width = layer.from_input.shape[1]
        self.layer, self.operand = layer, operand  # operand: (D + H, B), [input, hidden]
        self.inputs, self.hidden = operand[:width], operand[width:]
        self.bias = repeat_column(layer.bias, operand.shape[1])
        self.product = np.empty_like(self.bias)
        self.state = [self.hidden]  # (H, B) each
        # np.dot has less overhead than matmul, but copies a matrix that is not contiguous.
        self.matmul = np.dot if layer.from_hidden.flags.c_contiguous else np.matmul

    @classmethod
    def lay_out(cls, from_input: Floats, from_hidden: Floats, bias: Floats) -> Layer:
        """Return weights of a model file, gates in PyTorch's order, in the layout of this cell."""
        rows, width = from_input.shape
        size = rows // len(cls.order)
        joined = np.empty((rows, width + size), np.float32)
        biases = np.empty_like(bias)
        for index, gate in enumerate(cls.order):
            source_index = cls.spec.gates.index(gate)
            target = slice(index * size, (index + 1) * size)
            source = slice(source_index * size, (source_index + 1) * size)
            scale = 0.5 if index < cls.num_sigmoids else 1.0
            np.multiply(from_input[source], scale, joined[target, :width])
            np.multiply(from_hidden[source], scale, joined[target, width:])
            np.multiply(bias[source], scale, biases[target])
        return Layer(joined, joined[:, :width], joined[:, width:], biases)

    def step(self) -> None:
        """Advance by the token whose input is in the operand, with one matrix product."""
        np.dot(self.layer.joined, self.operand, self.product)
        self.advance(self.bias)

    def recur(self, from_input: Floats) -> None:
        """Advance by a token, given its input product plus bias, (G·H, B)."""
        self.matmul(self.layer.from_hidden, self.hidden, self.product)
        self.advance(from_input)

    @abstractmethod
    def advance(self, addend: Floats) -> None:
        """Compute the new state from `product` + `addend`, (G·H, B) each."""


class RnnCell(Cell):
    """h' = tanh(W x + U h + b). Elman, "Finding structure in time", 1990."""

    spec = CELL_SPECS["rnn"]
    order, num_sigmoids = ("h",), 0

    def advance(self, addend: Floats) -> None:
        """Write the new hidden state into the operand."""
        np.add(self.product, addend, self.product)
        np.tanh(self.product, self.hidden)


class LstmCell(Cell):
    """c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c').

    Gers, Schmidhuber and Cummins, "Learning to forget", 2000.

    One buffer of five blocks of H rows holds the gates and the cell state. c follows g, so that
    (i, f) ∘ (g, c) is one call. The views into the buffer:

        block            |   0   |   1   |   2   |   3   |   4   |
        values           |   i   |   f   |   o   |   g   |   c   |
        product          |-------------------------------|
        sigmoid_gates    |-----------------------|
        input_forget     |---------------|
        candidate_cell                           |---------------|
        added            |-------|                                   i ∘ g, then tanh(c')
        kept                     |-------|                           f ∘ c
        output                           |-------|
        cell                                             |-------|
    """

    spec = CELL_SPECS["lstm"]
    order, num_sigmoids = ("i", "f", "o", "g"), 3

    def __init__(self, layer: Layer, operand: Floats) -> None:
        super().__init__(layer, operand)
        size, streams = self.hidden.shape
        buffer = np.empty((5 * size, streams), np.float32)

        def blocks(first: int, end: int) -> Floats:
            return buffer[first * size : end * size]

        self.product, self.sigmoid_gates = blocks(0, 4), blocks(0, 3)
        self.input_forget, self.candidate_cell = blocks(0, 2), blocks(3, 5)
        self.added, self.kept, self.output = blocks(0, 1), blocks(1, 2), blocks(2, 3)
        self.cell = blocks(4, 5)
        self.state = [self.hidden, self.cell]

    def advance(self, addend: Floats) -> None:
        """Compute the new state in eight calls; in a small model their overhead dominates."""
        np.add(self.product, addend, self.product)
        np.tanh(self.product, self.product)
        np.multiply(self.sigmoid_gates, HALF, self.sigmoid_gates)
        np.add(self.sigmoid_gates, HALF, self.sigmoid_gates)
        np.multiply(self.input_forget, self.candidate_cell, self.input_forget)
        np.add(self.added, self.kept, self.cell)
        np.tanh(self.cell, self.added)
        np.multiply(self.output, self.added, self.hidden)


class GruCell(Cell):
    """n = tanh(W_n x + b_n + r (U_n h)), h' = n + z (h - n).

    Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, in cuDNN's form.

    `product` has three blocks of H rows. The views into it:

        block            |   0   |   1   |   2   |
        values           |   r   |   z   | U_n h |
        sigmoid_gates    |---------------|
        reset            |-------|
        update                   |-------|
        candidate                        |-------|    U_n h, then n
    """

    spec = CELL_SPECS["gru"]
    order, num_sigmoids = ("r", "z", "n"), 2

    def __init__(self, layer: Layer, operand: Floats) -> None:
        super().__init__(layer, operand)
        size = len(self.hidden)
        self.input_product = np.empty_like(self.product)
        self.sigmoid_gates, self.candidate = self.product[: 2 * size], self.product[2 * size :]
        self.reset, self.update = self.product[:size], self.product[size : 2 * size]

    def step(self) -> None:
        """Advance by one token with two products: the reset gate applies to only one of them."""
        np.matmul(self.layer.from_input, self.inputs, self.input_product)
        np.add(self.input_product, self.bias, self.input_product)
        self.recur(self.input_product)

    def advance(self, addend: Floats) -> None:
        """Compute the new state in ten calls."""
        split = len(self.sigmoid_gates)
        np.add(self.sigmoid_gates, addend[:split], self.sigmoid_gates)
        np.tanh(self.sigmoid_gates, self.sigmoid_gates)
        np.multiply(self.sigmoid_gates, HALF, self.sigmoid_gates)
        np.add(self.sigmoid_gates, HALF, self.sigmoid_gates)
        np.multiply(self.reset, self.candidate, self.candidate)
        np.add(self.candidate, addend[split:], self.candidate)
        np.tanh(self.candidate, self.candidate)
        np.subtract(self.hidden, self.candidate, self.hidden)
        np.multiply(self.update, self.hidden, self.hidden)
        np.add(self.hidden, self.candidate, self.hidden)


CELLS: dict[str, type[Cell]] = {"lstm": LstmCell, "gru": GruCell, "rnn": RnnCell}


def repeat_column(column: Floats, streams: int) -> Floats:
    """Repeat a column of features for each stream, (features, B), to add without broadcasting."""
    return np.repeat(column[:, None], streams, axis=1)
