"""The language model in NumPy: one token at a time for B streams, or long texts in bulk.

Shapes: B streams, T time, V vocab_size, E embedding_dim, H hidden_size, L num_layers, G gate
blocks of a cell. Inside, arrays are features × streams; see cells.py for why.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from charnn.arrays import Doubles, Floats, Ids
from charnn.config import ModelConfig
from charnn.model.numpy_cells import CELLS, Layer, across

State = tuple[Floats, ...]  # (B, H) each, layer by layer: h_0, c_0, h_1, c_1, … or h_0, h_1, …

TABLE_LIMIT = 1 << 22  # floats; a larger table would cost more memory and start than it saves
CHUNK_LIMIT = 1 << 20  # floats of intermediate results of a bulk run: what a cache holds
CACHE_LINE = 16  # floats


class Texts(Protocol):
    """What generation needs of texts in flight, such as `Streams`."""

    logits: Floats

    @property
    def state(self) -> State:
        """The state as a value, (B, H) each: a copy."""

    def put(self, streams: slice, state: State) -> None:
        """Let some streams go on from `state`; the others are left alone."""

    def step(self, ids: Ids) -> Floats:
        """Feed one token to each stream, (B,); the logits of the next, (B, V)."""

    def feed(self, ids: Ids) -> Floats:
        """Feed T tokens to each stream, (B, T); the logits of the next, (B, V)."""

    def predict(self) -> Floats:
        """The logits of the next token, (B, V), from the state as it is."""


class Network(Protocol):
    """What generation needs of a model's weights, such as `Stepper`."""

    config: ModelConfig

    def initial_state(self, batch_size: int = 1) -> State:
        """Zeros, (B, H) for each part of the state."""

    def streams(self, state: State) -> Texts:
        """B texts in flight, from a state, which is copied."""


class Stepper:
    """The weights of a model, laid out once; any number of `Streams` share them.

    `tensors` have the names and shapes of the model file, and are not changed.
    """

    def __init__(self, config: ModelConfig, tensors: Mapping[str, Floats]) -> None:
        self.config, self.cell = config, CELLS[config.cell]
        self.embedding = tensors["embedding.weight"]
        self.output = tensors["embedding.weight" if config.tie_weights else "output.weight"]
        self.output_bias = tensors["output.bias"]
        self.layers = [
            self.cell.lay_out(
                tensors[f"layers.{layer}.weight_ih"],
                tensors[f"layers.{layer}.weight_hh"],
                tensors[f"layers.{layer}.bias"],
            )
            for layer in range(config.num_layers)
        ]
        self.table: Floats | None = None  # (V, G·H) and padding: what a token adds to the gates
        if config.vocab_size * len(self.layers[0].bias) <= TABLE_LIMIT:
            self.table, self.layers[0] = folded(self.embedding, self.layers[0])

    def initial_state(self, batch_size: int = 1) -> State:
        """Zeros, (B, H) for each part of the state."""
        count = self.config.num_layers * self.cell.parts
        shape = (batch_size, self.config.hidden_size)
        return tuple(np.zeros(shape, np.float32) for _ in range(count))

    def streams(self, state: State) -> "Streams":
        """B texts in flight, from a state, which is copied."""
        return Streams(self, state)


def folded(embedding: Floats, layer: Layer) -> tuple[Floats, Layer]:
    """(the input product and bias of layer 0 for each token, what is left of the layer)."""
    rows = len(layer.bias)
    # Padded: without it the transposed read of many rows falls on one set of cache lines.
    table = np.zeros((len(embedding), rows + CACHE_LINE), np.float32)
    np.matmul(embedding, layer.from_input.T, table[:, :rows])
    table[:, :rows] += layer.bias
    from_hidden = np.ascontiguousarray(layer.from_hidden)
    return table, Layer(from_hidden, from_hidden[:, :0], from_hidden, layer.bias)


class Streams:
    """B texts in flight: a state that moves on with each token, and all that a step writes to.

    `logits`, (B, V), are those of the next token: a view, overwritten by the next step.
    """

    def __init__(self, stepper: Stepper, state: State) -> None:
        streams, size = state[0].shape
        # The input of layer 0 (none where a table stands for it), then h_0, h_1, …: so the input
        # of every layer lies right above its hidden state.
        first = stepper.layers[0].from_input.shape[1]
        values = np.zeros((first + size * len(stepper.layers), streams), np.float32)
        starts = [0, *range(first, len(values) - size, size)]
        self.cells = [
            stepper.cell(layer, values[start : start + layer.joined.shape[1]])
            for start, layer in zip(starts, stepper.layers, strict=True)
        ]
        self.stepper, self.batch_size = stepper, streams
        self.first, self.later, self.top = self.cells[0], self.cells[1:], self.cells[-1].hidden
        self.output_bias = across(stepper.output_bias, streams)
        self.upright = np.empty_like(self.output_bias)
        self.logits = self.upright.T
        if stepper.table is not None:
            rows = len(self.first.bias)
            self.additions = stepper.table[:, :rows, None]
            self.looked_up = np.empty((streams, rows + CACHE_LINE), np.float32)
            self.addition = self.looked_up[:, :rows].T
        self.put(slice(None), state)

    @property
    def state(self) -> State:
        """The state as a value, (B, H) each: a copy."""
        return tuple(part.T.copy() for cell in self.cells for part in cell.state)

    def put(self, streams: slice, state: State) -> None:
        """Let some streams go on from `state`; the others are left alone."""
        parts = [part for cell in self.cells for part in cell.state]
        for part, value in zip(parts, state, strict=True):
            part[:, streams] = value.T

    def step(self, ids: Ids) -> Floats:
        """Feed one token to each stream, (B,); the logits of the next, (B, V)."""
        if self.stepper.table is None:
            self.first.inputs[:] = self.stepper.embedding[ids].T
            self.first.step()
        elif self.batch_size == 1:
            self.first.recur(self.additions[ids[0]])
        else:
            np.take(self.stepper.table, ids, 0, self.looked_up, "clip")  # "raise" makes a copy
            self.first.recur(self.addition)
        for cell in self.later:
            cell.step()
        return self.predict()

    def predict(self) -> Floats:
        """The logits of the next token, (B, V), from the state as it is."""
        np.dot(self.stepper.output, self.top, self.upright)
        np.add(self.upright, self.output_bias, self.upright)
        return self.logits

    def feed(self, ids: Ids) -> Floats:
        """Feed T tokens to each stream, (B, T); the logits of the next, (B, V)."""
        if self.batch_size == 1:
            for _ in self.bulk(ids[0]):
                pass
            return self.predict()
        for column in ids.T:
            self.step(column)
        return self.predict()

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Feed `ids`, (B, T); for each of them ln p of its target as the next token, (B, T)."""
        result = np.empty(ids.shape)
        if self.batch_size > 1:
            for time, (column, target) in enumerate(zip(ids.T, targets.T, strict=True)):
                result[:, time] = log_probs(self.step(column), target)
            return result
        start = 0
        for outputs in self.bulk(ids[0]):
            logits = outputs @ self.stepper.output.T + self.stepper.output_bias
            end = start + len(logits)
            result[0, start:end] = log_probs(logits, targets[0, start:end])
            start = end
        return result

    def bulk(self, ids: Ids) -> Iterator[Floats]:
        """Feed (T,) ids to a single stream; yields its top outputs, (some time, H) at a time.

        A chunk goes through the layers one after the other: a layer's input products are then one
        matrix product, and the rest of its weights stay in the cache from token to token.
        """
        stepper = self.stepper
        length = max(1, CHUNK_LIMIT // max(len(self.first.bias), len(stepper.output)))
        for start in range(0, len(ids), length):
            chunk = ids[start : start + length]
            outputs: Floats = stepper.embedding[chunk]
            for cell in self.cells:
                if cell is self.first and stepper.table is not None:
                    additions = self.additions[chunk]
                else:
                    additions = outputs @ cell.layer.from_input.T + cell.layer.bias
                    additions = additions[:, :, None]
                outputs = np.empty((len(chunk), len(cell.hidden)), np.float32)
                for addition, output in zip(additions, outputs, strict=True):
                    cell.recur(addition)
                    output[:] = cell.hidden[:, 0]
            yield outputs


def log_probs(logits: Floats, targets: Ids) -> Doubles:
    """The logarithm of p of one target a row, (N,), from logits (N, V), in float64."""
    shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    chosen = shifted[np.arange(len(shifted)), targets]
    log_probs: Doubles = chosen - np.log(np.exp(shifted).sum(axis=1))
    return log_probs
