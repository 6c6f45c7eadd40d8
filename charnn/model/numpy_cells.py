"""RNN, LSTM and GRU cells in NumPy, one token at a time for B streams.

Shapes: B streams, D width of the input, H hidden_size, G gate blocks of a cell. Everything stands
on its side, features × streams, so that a block of features is contiguous whatever B is: gates
are slices, and the input and the hidden state are neighbours that one matrix product reads.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np

from charnn.arrays import Floats

HALF = np.array(0.5, np.float32)  # an array: a Python float costs a conversion at every call


class Layer(NamedTuple):
    """Weights of one layer as its cell wants them: gates reordered, sigmoid gates halved."""

    joined: Floats  # (G·H, D + H)
    from_input: Floats  # (G·H, D), a view into `joined`; D = 0 where a table holds the product
    from_hidden: Floats  # (G·H, H), a view into `joined`
    bias: Floats  # (G·H,)


class Cell(ABC):
    """One layer in flight: its weights, its part of the state, and the room for its arithmetic.

    All gates of a token go through one tanh: σ(x) = ½ tanh(½x) + ½, the inner ½ in the weights.
    """

    order: ClassVar[tuple[int, ...]]  # the gate blocks, by their place in PyTorch's order
    sigmoids: ClassVar[int]  # so many of them, the first ones, are sigmoids
    parts: ClassVar[int] = 1  # arrays of state

    def __init__(self, layer: Layer, operand: Floats) -> None:
        width = layer.from_input.shape[1]
        self.layer, self.operand = layer, operand  # operand: (D + H, B), [input, hidden]
        self.inputs, self.hidden = operand[:width], operand[width:]
        self.bias = across(layer.bias, operand.shape[1])
        self.product = np.empty_like(self.bias)
        self.state = [self.hidden]  # (H, B) each
        # dot is called quicker than matmul, but would copy what is a part of a wider matrix.
        self.times = np.dot if layer.from_hidden.flags.c_contiguous else np.matmul

    @classmethod
    def lay_out(cls, from_input: Floats, from_hidden: Floats, bias: Floats) -> Layer:
        """The weights of a file, gates in PyTorch's order, as this cell wants them."""
        rows, width = from_input.shape
        size = rows // len(cls.order)
        joined = np.empty((rows, width + size), np.float32)
        biases = np.empty_like(bias)
        for place, gate in enumerate(cls.order):
            here = slice(place * size, (place + 1) * size)
            there = slice(gate * size, (gate + 1) * size)
            scale = 0.5 if place < cls.sigmoids else 1.0
            np.multiply(from_input[there], scale, joined[here, :width])
            np.multiply(from_hidden[there], scale, joined[here, width:])
            np.multiply(bias[there], scale, biases[here])
        return Layer(joined, joined[:, :width], joined[:, width:], biases)

    def step(self) -> None:
        """Advance by one token whose input stands in the operand: one product for both."""
        np.dot(self.layer.joined, self.operand, self.product)
        self.advance(self.bias)

    def recur(self, from_input: Floats) -> None:
        """Advance by one token whose input product and bias, (G·H, B), are known."""
        self.times(self.layer.from_hidden, self.hidden, self.product)
        self.advance(from_input)

    @abstractmethod
    def advance(self, addend: Floats) -> None:
        """Turn `product` and what is still to be added to it, (G·H, B), into the new state."""


class RnnCell(Cell):
    """h' = tanh(W x + U h + b). Elman, "Finding structure in time", 1990."""

    order, sigmoids = (0,), 0

    def advance(self, addend: Floats) -> None:
        """The new hidden state, straight into its place."""
        np.add(self.product, addend, self.product)
        np.tanh(self.product, self.hidden)


class LstmCell(Cell):
    """c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c').

    Gers, Schmidhuber and Cummins, "Learning to forget", 2000.
    """

    order, sigmoids, parts = (0, 1, 3, 2), 3, 2

    def __init__(self, layer: Layer, operand: Floats) -> None:
        super().__init__(layer, operand)
        size, streams = self.hidden.shape
        room = np.empty((5 * size, streams), np.float32)  # i, f, o, g, c
        self.product, self.memory = room[: 4 * size], room[4 * size :]
        self.squashed, self.output = room[: 3 * size], room[2 * size : 3 * size]
        # c lies behind g, so that (i, f) times (g, c) is one call.
        self.input_forget, self.new_old = room[: 2 * size], room[3 * size :]
        self.new, self.old = room[:size], room[size : 2 * size]
        self.state = [self.hidden, self.memory]

    def advance(self, addend: Floats) -> None:
        """Eight calls, since in a small model the calls are the cost."""
        np.add(self.product, addend, self.product)
        np.tanh(self.product, self.product)
        np.multiply(self.squashed, HALF, self.squashed)
        np.add(self.squashed, HALF, self.squashed)
        np.multiply(self.input_forget, self.new_old, self.input_forget)
        np.add(self.new, self.old, self.memory)
        np.tanh(self.memory, self.new)
        np.multiply(self.output, self.new, self.hidden)


class GruCell(Cell):
    """n = tanh(W_n x + b_n + r (U_n h)), h' = n + z (h - n).

    Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, in cuDNN's form.
    """

    order, sigmoids = (0, 1, 2), 2

    def __init__(self, layer: Layer, operand: Floats) -> None:
        super().__init__(layer, operand)
        size = len(self.hidden)
        self.input_product = np.empty_like(self.product)
        self.squashed, self.new = self.product[: 2 * size], self.product[2 * size :]
        self.reset, self.update = self.product[:size], self.product[size : 2 * size]

    def step(self) -> None:
        """Two products: the reset gate stands between them."""
        np.matmul(self.layer.from_input, self.inputs, self.input_product)
        np.add(self.input_product, self.bias, self.input_product)
        self.recur(self.input_product)

    def advance(self, addend: Floats) -> None:
        """Ten calls; `new` holds U_n h first and n at last."""
        split = len(self.squashed)
        np.add(self.squashed, addend[:split], self.squashed)
        np.tanh(self.squashed, self.squashed)
        np.multiply(self.squashed, HALF, self.squashed)
        np.add(self.squashed, HALF, self.squashed)
        np.multiply(self.reset, self.new, self.new)
        np.add(self.new, addend[split:], self.new)
        np.tanh(self.new, self.new)
        np.subtract(self.hidden, self.new, self.hidden)
        np.multiply(self.update, self.hidden, self.hidden)
        np.add(self.hidden, self.new, self.hidden)


CELLS: dict[str, type[Cell]] = {"lstm": LstmCell, "gru": GruCell, "rnn": RnnCell}


def across(column: Floats, streams: int) -> Floats:
    """A column of features once for each stream, (features, B): what adds without broadcasting."""
    return np.repeat(column[:, None], streams, axis=1)
