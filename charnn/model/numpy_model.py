"""The language model in NumPy: one token at a time for B streams, or long texts in bulk.

Shapes: B streams, T time, V vocab_size, E embedding_dim, H hidden_size, L num_layers, G gates of a
cell. Internal arrays are features × streams; see numpy_cells.py for the reason.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from charnn.arrays import Doubles, Floats, Ids
from charnn.config import ModelConfig
from charnn.model.backend import State
from charnn.model.numpy_cells import CELLS, Cell, Layer, repeat_column
from charnn.model.softmax import target_log_probs
from charnn.model.spec import CELL_SPECS, layer_tensors

TABLE_LIMIT = 1 << 22  # floats in the table of layer 0: 16 MiB, about 40 ms to compute
CHUNK_LIMIT = 1 << 20  # floats of intermediate results in `bulk`: 4 MiB, the size of a cache
CACHE_LINE = 16  # floats


class NumpyModel:
    """A `backend.ModelBackend` in NumPy, without torch.

    `tensors` have the names and shapes of the model file and are not modified.
    """

    def __init__(self, config: ModelConfig, tensors: Mapping[str, Floats]) -> None:
        self.config, self.cell = config, CELLS[config.cell]
        self.embedding = tensors["embedding.weight"]
        self.output = tensors["embedding.weight" if config.tie_weights else "output.weight"]
        self.output_bias = tensors["output.bias"]
        self.layers = [
            self.cell.lay_out(*(tensors[name] for name in layer_tensors(layer)))
            for layer in range(config.num_layers)
        ]
        self.table: Floats | None = None  # (V, G·H) and padding: input product plus bias
        if config.vocab_size * len(self.layers[0].bias) <= TABLE_LIMIT:
            self.table, self.layers[0] = input_table(self.embedding, self.layers[0])

    def initial_state(self, batch_size: int = 1) -> State:
        """Return zeros, (B, H) for each part of the state."""
        count = self.config.num_layers * len(CELL_SPECS[self.config.cell].state)
        shape = (batch_size, self.config.hidden_size)
        return tuple(np.zeros(shape, np.float32) for _ in range(count))

    def streams(self, state: State) -> "NumpyStreams":
        """Return B streams that start from a copy of `state`."""
        return NumpyStreams(self, state)


def input_table(embedding: Floats, layer: Layer) -> tuple[Floats, Layer]:
    """Return the input product plus bias of layer 0 for each token, and the layer without input."""
    rows = len(layer.bias)
    # Padding: otherwise a transposed read of many rows maps to the same set of cache lines.
    table = np.zeros((len(embedding), rows + CACHE_LINE), np.float32)
    np.matmul(embedding, layer.from_input.T, table[:, :rows])
    table[:, :rows] += layer.bias
    from_hidden = np.ascontiguousarray(layer.from_hidden)
    return table, Layer(from_hidden, from_hidden[:, :0], from_hidden, layer.bias)


class NumpyStreams:
    """`backend.Streams` in NumPy. All arrays that a step writes to are allocated once."""

    def __init__(self, model: NumpyModel, state: State) -> None:
        streams, size = state[0].shape
        self.model, self.batch_size = model, streams
        self.cells = _lay_out_cells(model, streams, size)
        self.first, self.later, self.top = self.cells[0], self.cells[1:], self.cells[-1].hidden
        self.output_bias = repeat_column(model.output_bias, streams)
        self.logits_by_feature = np.empty_like(self.output_bias)  # (V, B)
        if model.table is not None:
            rows = len(self.first.bias)
            self.input_columns = model.table[:, :rows, None]  # (V, G·H, 1)
            self.table_rows = np.empty((streams, rows + CACHE_LINE), np.float32)
            self.from_input = self.table_rows[:, :rows].T  # (G·H, B)
        self.put(slice(None), state)

    @property
    def state(self) -> State:
        """Return a copy of the hidden state, (B, H) for each part."""
        return tuple(part.T.copy() for cell in self.cells for part in cell.state)

    def put(self, streams: slice, state: State) -> None:
        """Set the hidden state of the selected streams; the others are unchanged."""
        parts = [part for cell in self.cells for part in cell.state]
        for part, value in zip(parts, state, strict=True):
            part[:, streams] = value.T

    def step(self, ids: Ids) -> Floats:
        """Read one token per stream, (B,), and return the logits of the next token, (B, V)."""
        if self.model.table is None:
            self.first.inputs[:] = self.model.embedding[ids].T
            self.first.step()
        elif self.batch_size == 1:
            self.first.recur(self.input_columns[ids[0]])
        else:
            np.take(self.model.table, ids, 0, self.table_rows, "clip")  # "raise" makes a copy
            self.first.recur(self.from_input)
        for cell in self.later:
            cell.step()
        return self.predict()

    def predict(self) -> Floats:
        """Return the logits of the next token, (B, V), from the current hidden state."""
        np.dot(self.model.output, self.top, self.logits_by_feature)
        np.add(self.logits_by_feature, self.output_bias, self.logits_by_feature)
        return self.logits_by_feature.T

    def feed(self, ids: Ids) -> Floats:
        """Read T tokens per stream, (B, T), and return the logits of the next token, (B, V)."""
        if self.batch_size == 1:
            for _ in self.bulk(ids[0]):
                pass
            return self.predict()
        for column in ids.T:
            self.step(column)
        return self.predict()

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Read ids (B, T) and return the log-probabilities of their targets in nats, (B, T).

        `targets[b, t]` is the token after `ids[b, t]`. The result is NaN for a negative target.
        """
        result = np.empty(ids.shape)
        if self.batch_size == 1:
            start = 0
            for outputs in self.bulk(ids[0]):
                logits = outputs @ self.model.output.T + self.model.output_bias
                end = start + len(logits)
                result[0, start:end] = target_log_probs(logits, targets[0, start:end])
                start = end
        else:
            for time, (column, target) in enumerate(zip(ids.T, targets.T, strict=True)):
                result[:, time] = target_log_probs(self.step(column), target)
        return np.where(targets < 0, np.nan, result)

    def bulk(self, ids: Ids) -> Iterator[Floats]:
        """Read ids (T,) in a single stream; yield the outputs of the top layer in chunks.

        Each layer processes a whole chunk: its input products are one matrix product, and its
        recurrent weights stay in the cache from token to token.
        """
        model = self.model
        length = max(1, CHUNK_LIMIT // max(len(self.first.bias), len(model.output)))
        for start in range(0, len(ids), length):
            chunk = ids[start : start + length]
            outputs: Floats = model.embedding[chunk]
            for cell in self.cells:
                if cell is self.first and model.table is not None:
                    from_input = self.input_columns[chunk]
                else:
                    from_input = outputs @ cell.layer.from_input.T + cell.layer.bias
                    from_input = from_input[:, :, None]
                outputs = np.empty((len(chunk), len(cell.hidden)), np.float32)
                for column, output in zip(from_input, outputs, strict=True):
                    cell.recur(column)
                    output[:] = cell.hidden[:, 0]
            yield outputs


def _lay_out_cells(model: NumpyModel, streams: int, size: int) -> list[Cell]:
    """Return the cells of all layers, with operands that are overlapping views of one buffer.

    The hidden state of a layer is the input of the next one, so that no layer copies its input.
    The rows of the buffer, one column per stream, and the operands of layers 0, 1 and 2:

        input of layer 0, D rows    ┐ 0
        h_0, H rows                 ┘ ┐ 1
        h_1, H rows                   ┘ ┐ 2
        h_2, H rows                     ┘

    D is 0 if a table holds the input product of layer 0.
    """
    width = model.layers[0].from_input.shape[1]
    buffer = np.zeros((width + size * len(model.layers), streams), np.float32)
    starts = [0, *range(width, len(buffer) - size, size)]
    return [
        model.cell(layer, buffer[start : start + layer.joined.shape[1]])
        for start, layer in zip(starts, model.layers, strict=True)
    ]
