"""The language model in PyTorch: embedding → recurrent layers → output layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charnn.arrays import Bools, Doubles
from charnn.config import ModelConfig
from charnn.model.layers import LAYERS, LayerState, RecurrentLayer, SequenceDropout
from charnn.model.model_file import ModelFile
from charnn.model.spec import tensor_shapes


@dataclass(frozen=True)
class Dropouts:
    """Dropout rates during training.

    `between` applies between layers and before the output, `inputs` to the embedded tokens,
    `embeddings` to whole rows of the embedding, `weights` to the recurrent matrices.
    """

    between: float = 0.0
    inputs: float = 0.0
    embeddings: float = 0.0
    weights: float = 0.0


class LanguageModel(nn.Module):
    """A recurrent network from ids (B, T) and a state to logits (B, T, V) and a new state.

    The state is a flat tuple of (B, H) tensors, layer by layer: (h_0, c_0, h_1, c_1, …).
    """

    def __init__(self, config: ModelConfig, dropouts: Dropouts | None = None) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim)
        layer = LAYERS[config.cell]
        widths = [config.embedding_dim] + [config.hidden_size] * (config.num_layers - 1)
        self.layers = nn.ModuleList(layer(width, config.hidden_size) for width in widths)
        self.output = nn.Linear(config.hidden_size, config.vocab_size)
        self.dropout, self.input_dropout = SequenceDropout(), SequenceDropout()
        self.embedding_dropout = 0.0
        self.set_dropouts(dropouts or Dropouts())
        self._reset_parameters()
        if config.tie_weights:
            # Press and Wolf, "Using the output embedding to improve language models", 2017.
            self.output.weight = self.embedding.weight

    def set_dropouts(self, rates: Dropouts) -> None:
        """Set the dropout rates of the training from the next step on."""
        self.dropout.rate, self.input_dropout.rate = rates.between, rates.inputs
        self.embedding_dropout = rates.embeddings
        for layer in self.recurrent_layers():
            layer.weight_dropout = rates.weights

    @torch.no_grad()
    def _reset_parameters(self) -> None:
        if self.config.tie_weights:  # also the output weights: initialize at their scale
            self.embedding.weight.normal_(0, 1 / math.sqrt(self.config.embedding_dim))
        else:
            self.embedding.weight.normal_(0, 1)
            bound = 1 / math.sqrt(self.config.hidden_size)
            self.output.weight.uniform_(-bound, bound)
        self.output.bias.zero_()

    @torch.no_grad()
    def init_output_bias(self, log_probabilities: Doubles) -> None:
        """Set the output bias to the unigram log-probabilities of the vocabulary, (V,).

        Training then does not need its first steps to learn them. Karpathy, "A recipe for training
        neural networks", 2019; measured in benchmarks/README.md, starts.py.
        """
        self.output.bias.copy_(torch.from_numpy(log_probabilities))

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return self.embedding.weight.device

    def initial_state(self, batch_size: int) -> LayerState:
        """Return a state of zeros for B rows."""
        layers = self.recurrent_layers()
        return tuple(part for layer in layers for part in layer.initial_state(batch_size))

    def forward(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return logits (B, T, V) after each input (B, T), and the state after the last."""
        outputs, _, state = self.hidden(inputs, state)
        return self.output(outputs), state

    def hidden(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, Tensor, LayerState]:
        """Return the outputs of the top layer (B, T, H) with and without dropout, and the state."""
        dropped = self.input_dropout(self._embed(inputs))
        outputs = dropped
        new_state: list[Tensor] = []
        for layer in self.recurrent_layers():
            parts = len(layer.spec.state)
            outputs, layer_state = layer(dropped, state[:parts])
            dropped = self.dropout(outputs)
            new_state.extend(layer_state)
            state = state[parts:]
        return dropped, outputs, tuple(new_state)

    def _embed(self, inputs: Tensor) -> Tensor:
        """Return the embedded inputs (B, T, E), with embedding dropout during training.

        A dropped token is dropped at every position in the batch. Gal and Ghahramani, 2016; Merity,
        Keskar and Socher, 2018.
        """
        weight = self.embedding.weight
        if self.training and self.embedding_dropout:
            keep = 1 - self.embedding_dropout
            weight = weight * weight.new_empty(len(weight), 1).bernoulli_(keep).div_(keep)
        return F.embedding(inputs, weight)

    def recurrent_layers(self) -> list[RecurrentLayer]:
        """Return the recurrent layers, from the bottom up."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def named_tensors(self) -> dict[str, Tensor]:
        """Return the weights by their names in the model file; tied output weights have no name."""
        return {name: self.get_parameter(name) for name in tensor_shapes(self.config)}

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy weights into the model by name. The names must equal those of `named_tensors`."""
        own = self.named_tensors()
        assert own.keys() == tensors.keys(), own.keys() ^ tensors.keys()
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def with_weights(model_file: ModelFile) -> LanguageModel:
    """Return the network with the weights of a model file, in evaluation mode."""
    model = LanguageModel(model_file.config)
    model.load_tensors({name: torch.tensor(array) for name, array in model_file.tensors.items()})
    return model.eval()


def detach(state: LayerState) -> LayerState:
    """Return the state detached from the autograd graph."""
    return tuple(part.detach() for part in state)


def continued_state(model: LanguageModel, state: LayerState | None, fresh: Bools) -> LayerState:
    """Return the state before a batch of B rows, given the one after the previous batch.

    Rows in `fresh` (B,) begin from zero. The previous batch may have had more rows; the first B of
    them continue.
    """
    if state is None or fresh.all():
        return model.initial_state(len(fresh))
    state = tuple(part[: len(fresh)] for part in state)
    if not fresh.any():
        return state
    keep = torch.from_numpy(~fresh).to(model.device).unsqueeze(1)
    return tuple(part * keep for part in state)
