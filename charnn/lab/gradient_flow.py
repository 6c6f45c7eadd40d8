"""Measure how gradients with respect to earlier hidden states vanish or explode."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from charnn.model.language_model import LanguageModel
from charnn.model.spec import layer_tensors, textbook_names

NORM = "‖∂E_t/∂h_{t−k}‖"


def gradient_norms(model: LanguageModel, tokens: Tensor, max_lag: int) -> dict[str, list[float]]:
    """Return ‖∂E_t/∂h_{t−k}‖ for k = 1 … `max_lag`; E_t = −log ŷ of the last of tokens (B, T + 1).

    The norms are geometric means over the rows, for each part of the state by its name: h_0 and,
    for an LSTM, c_0 of the lowest layer, then h_1, … Requires T > `max_lag`.
    """
    inputs, last = tokens[:, :-1], tokens[:, -1]
    first = inputs.shape[1] - max_lag
    with torch.no_grad():
        _, state = model(inputs[:, :first], model.initial_state(len(inputs)))
    states = [tuple(part.clone().requires_grad_() for part in state)]
    for t in range(first, inputs.shape[1]):
        logits, state = model(inputs[:, t : t + 1], states[-1])
        states.append(state)
    loss = F.cross_entropy(logits[:, 0], last, reduction="sum")
    earlier = [part for state in reversed(states[:-1]) for part in state]  # for k = 1, 2, …
    gradients = torch.autograd.grad(loss, earlier)
    names = state_names(model)
    return {
        name: [_geometric_mean(gradient.norm(dim=1)) for gradient in gradients[i :: len(names)]]
        for i, name in enumerate(names)
    }


def state_names(model: LanguageModel) -> list[str]:
    """Return h_0, c_0, h_1, … in the order of the state."""
    layers = model.recurrent_layers()
    return [f"{part}_{i}" for i, layer in enumerate(layers) for part in layer.spec.state]


def _geometric_mean(norms: Tensor) -> float:
    return float(norms.log().mean().exp())


def factor_per_token(norms: Sequence[float]) -> float:
    """Return the mean ratio of the norm at lag k + 1 to that at lag k, for norms of k = 1, 2, …

    Over the second half of the lags: the first ones include the path from the output to the state.
    0 if a gradient vanishes completely.
    """
    half = norms[(len(norms) - 1) // 2 :]
    if len(half) == 1 or not half[0] or not half[-1]:
        return 0.0
    return math.exp((math.log(half[-1]) - math.log(half[0])) / (len(half) - 1))


@torch.no_grad()
def scale_recurrent(model: LanguageModel, gain: float) -> None:
    """Scale the recurrent matrices of a new model, which are orthogonal, to this spectral norm."""
    for layer in model.recurrent_layers():
        layer.weight_hh.mul_(gain)


@torch.no_grad()
def spectral_norms(model: LanguageModel) -> dict[str, float]:
    """Return the largest singular value of the recurrent matrix of each gate of each layer."""
    norms = {}
    for i, layer in enumerate(model.recurrent_layers()):
        _, weight_hh, _ = layer_tensors(i)
        symbols = textbook_names(weight_hh, model.config.cell).split()
        for symbol, block in zip(symbols, layer.weight_hh.chunk(len(symbols)), strict=True):
            norms[f"{symbol}_{i}"] = float(torch.linalg.matrix_norm(block, 2))
    return norms


@torch.no_grad()
def zero_inputs(model: LanguageModel) -> None:
    """Set the embeddings to zero, so that a zero state does not change."""
    model.embedding.weight.zero_()


@torch.no_grad()
def open_gates(model: LanguageModel, bias: float) -> None:
    """Set the bias of the gate that keeps the state: f of an LSTM, z of a GRU."""
    for layer in model.recurrent_layers():
        if layer.spec.keeping_gate:
            layer.gate_biases()[layer.spec.keeping_gate].fill_(bias)
