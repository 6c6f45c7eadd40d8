"""The language model in PyTorch: embedding → recurrent layers → output layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charnn.arrays import Doubles, Floats
from charnn.config import ModelConfig
from charnn.model.layers import CELLS, RecurrentLayer, SequenceDropout, State


@dataclass(frozen=True)
class Dropouts:
    """Rates of what is dropped while training: between layers and before the output, on the
    embeddings, whole embeddings, and weights of the recurrent matrices.
    """

    between: float = 0.0
    inputs: float = 0.0
    embeddings: float = 0.0
    weights: float = 0.0


class LanguageModel(nn.Module):
    """Ids (B, T) and a state in; logits (B, T, V) of the next token and the new state out.

    The state is one flat tuple, layer after layer: (h_0, c_0, h_1, c_1, …), each (B, H).
    """

    def __init__(self, config: ModelConfig, dropouts: Dropouts | None = None) -> None:
        super().__init__()
        self.config = config
        rates = dropouts or Dropouts()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim)
        layer = CELLS[config.cell]
        widths = [config.embedding_dim] + [config.hidden_size] * (config.num_layers - 1)
        self.layers = nn.ModuleList(
            layer(width, config.hidden_size, rates.weights) for width in widths
        )
        self.output = nn.Linear(config.hidden_size, config.vocab_size)
        self.dropout = SequenceDropout(rates.between)
        self.input_dropout = SequenceDropout(rates.inputs)
        self.embedding_dropout = rates.embeddings
        self._reset_parameters()
        if config.tie_weights:
            # Press and Wolf, "Using the output embedding to improve language models", 2017.
            self.output.weight = self.embedding.weight

    @torch.no_grad()
    def _reset_parameters(self) -> None:
        if self.config.tie_weights:  # one matrix serves both ends, so it starts at output scale
            self.embedding.weight.normal_(0, 1 / math.sqrt(self.config.embedding_dim))
        else:
            self.embedding.weight.normal_(0, 1)
            bound = 1 / math.sqrt(self.config.hidden_size)
            self.output.weight.uniform_(-bound, bound)
        self.output.bias.zero_()

    @torch.no_grad()
    def init_output_bias(self, log_probabilities: Doubles) -> None:
        """Begin as a model that knows how frequent each symbol is, (V,), and nothing else.

        The output's biases say it, so that no step goes into learning it; after Karpathy, "A
        recipe for training neural networks", 2019.
        """
        self.output.bias.copy_(torch.from_numpy(log_probabilities))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    def initial_state(self, batch_size: int) -> State:
        """Zeros for B rows."""
        layers = self.recurrent_layers()
        return tuple(part for layer in layers for part in layer.initial_state(batch_size))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, T, V) after each of the inputs (B, T), and the state after the last."""
        outputs, _, state = self.hidden(inputs, state)
        return self.output(outputs), state

    def hidden(self, inputs: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """The top layer's outputs (B, T, H) with and without dropout, and the new state."""
        dropped = self.input_dropout(self._embedded(inputs))
        outputs = dropped
        new_state: list[Tensor] = []
        for layer in self.recurrent_layers():
            parts = len(layer.state_names)
            outputs, layer_state = layer(dropped, state[:parts])
            dropped = self.dropout(outputs)
            new_state.extend(layer_state)
            state = state[parts:]
        return dropped, outputs, tuple(new_state)

    def _embedded(self, inputs: Tensor) -> Tensor:
        """Rows of the embedding (B, T, E); in training some symbols have none, for all of a batch.

        Gal and Ghahramani, 2016; "embedding dropout" in Merity, Keskar and Socher, 2018.
        """
        weight = self.embedding.weight
        if self.training and self.embedding_dropout:
            keep = 1 - self.embedding_dropout
            weight = weight * weight.new_empty(len(weight), 1).bernoulli_(keep).div_(keep)
        return F.embedding(inputs, weight)

    def recurrent_layers(self) -> list[RecurrentLayer]:
        """The recurrent layers, from the bottom up."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def named_tensors(self) -> dict[str, Tensor]:
        """The weights under the names they have in a model file; a tied output has none."""
        tensors = {"embedding.weight": self.embedding.weight}
        for index, layer in enumerate(self.recurrent_layers()):
            tensors[f"layers.{index}.weight_ih"] = layer.weight_ih
            tensors[f"layers.{index}.weight_hh"] = layer.weight_hh
            tensors[f"layers.{index}.bias"] = layer.bias
        if not self.config.tie_weights:
            tensors["output.weight"] = self.output.weight
        tensors["output.bias"] = self.output.bias
        return tensors

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over weights by name. The names must be exactly those of `named_tensors`."""
        own = self.named_tensors()
        assert own.keys() == tensors.keys(), own.keys() ^ tensors.keys()
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def with_weights(config: ModelConfig, arrays: Mapping[str, Floats]) -> LanguageModel:
    """The network with the weights of a model file, ready to evaluate."""
    model = LanguageModel(config)
    model.load_tensors({name: torch.tensor(array) for name, array in arrays.items()})
    return model.eval()


def detach(state: State) -> State:
    """The same numbers, cut off from the graph that made them: gradients stop here."""
    return tuple(part.detach() for part in state)


def reset_rows(state: State, fresh: Tensor) -> State:
    """The state with the rows in `fresh` (B,) set to zero."""
    keep = (~fresh).unsqueeze(1)
    return tuple(part * keep for part in state)
