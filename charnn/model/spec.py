"""The specification of a network: gates and state of each cell, names and shapes of its tensors.

The PyTorch layers, the NumPy cells and the model file all read this table.

Shapes: V vocab_size, E embedding_dim, H hidden_size, D width of a layer's input (E in layer 0, H
in the others), G gates of a cell.
"""

from dataclasses import dataclass

from charnn.config import ModelConfig


@dataclass(frozen=True)
class CellSpec:
    """The gates and state of a kind of recurrent cell.

    `gates` names the blocks of H rows in the weights of a layer, in PyTorch's order. `keeping_gate`
    multiplies the previous state, `writing_gate` the value added to it; both are "" in a cell
    without such a gate.
    """

    gates: tuple[str, ...]
    state: tuple[str, ...] = ("h",)
    keeping_gate: str = ""
    writing_gate: str = ""


CELL_SPECS = {
    "lstm": CellSpec(("i", "f", "g", "o"), ("h", "c"), keeping_gate="f", writing_gate="i"),
    "gru": CellSpec(("r", "z", "n"), keeping_gate="z"),
    "rnn": CellSpec(("h",)),
}


def layer_tensors(layer: int) -> tuple[str, str, str]:
    """Return the names of a layer's input weights, recurrent weights and biases."""
    return f"layers.{layer}.weight_ih", f"layers.{layer}.weight_hh", f"layers.{layer}.bias"


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a model by name, in the order of the model file.

    The names are the paths of the parameters in `LanguageModel`. Tied output weights have no
    separate entry.
    """
    hidden = config.hidden_size
    rows = len(CELL_SPECS[config.cell].gates) * hidden
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (config.vocab_size, config.embedding_dim)
    }
    for layer in range(config.num_layers):
        weight_ih, weight_hh, bias = layer_tensors(layer)
        shapes[weight_ih] = (rows, hidden if layer else config.embedding_dim)
        shapes[weight_hh] = (rows, hidden)
        shapes[bias] = (rows,)
    if not config.tie_weights:
        shapes["output.weight"] = (config.vocab_size, hidden)
    shapes["output.bias"] = (config.vocab_size,)
    return shapes


def textbook_names(name: str, cell: str) -> str:
    """Return the textbook symbols of a tensor: E, W_hq, b_q, or W_x, W_h, b_ for each gate.

    The symbols of a layer end in the letter of the gate.
    """
    symbols = {"weight_ih": "W_x", "weight_hh": "W_h", "bias": "b_"}
    if name.startswith("layers."):
        symbol = symbols[name.rpartition(".")[2]]
        return " ".join(symbol + gate for gate in CELL_SPECS[cell].gates)
    return {"embedding.weight": "E", "output.weight": "W_hq", "output.bias": "b_q"}[name]
