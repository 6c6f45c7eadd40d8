"""Measure how gradients with respect to earlier hidden states vanish or explode."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from charnn.model.language_model import LanguageModel

NORM = "‖∂E_t/∂h_{t−k}‖"


def gradient_norms(model: LanguageModel, tokens: Tensor, reach: int) -> dict[str, list[float]]:
    """For k = 1 … `reach`, ‖∂E_t/∂h_{t−k}‖ of tokens (B, T + 1), E_t = −log ŷ of the last one.

    The geometric mean over the rows, for each part of the state by its name: h_0 and, for an LSTM,
    c_0 of the lowest layer, h_1, … Needs T > `reach`; the state is carried up to t − reach.
    """
    inputs, last = tokens[:, :-1], tokens[:, -1]
    first = inputs.shape[1] - reach
    with torch.no_grad():
        _, state = model(inputs[:, :first], model.initial_state(len(inputs)))
    states = [tuple(part.clone().requires_grad_() for part in state)]
    for t in range(first, inputs.shape[1]):
        logits, state = model(inputs[:, t : t + 1], states[-1])
        states.append(state)
    loss = F.cross_entropy(logits[:, 0], last, reduction="sum")
    before = [part for state in reversed(states[:-1]) for part in state]  # of k = 1, 2, …
    gradients = torch.autograd.grad(loss, before)
    names = state_names(model)
    return {
        name: [_typical(gradient.norm(dim=1)) for gradient in gradients[place :: len(names)]]
        for place, name in enumerate(names)
    }


def state_names(model: LanguageModel) -> list[str]:
    """h_0, c_0, h_1, … in the order of the state."""
    layers = model.recurrent_layers()
    return [f"{part}_{i}" for i, layer in enumerate(layers) for part in layer.spec.state]


def _typical(norms: Tensor) -> float:
    """The geometric mean; 0 where a norm is 0."""
    return float(norms.log().mean().exp())


def factor(norms: Sequence[float]) -> float:
    """What one token further back multiplies the norms of k = 1, 2, … by, on average.

    Over the second half of them: the first steps back, from the output into the state, are others.
    """
    half = norms[(len(norms) - 1) // 2 :]
    if len(half) == 1 or not half[0] or not half[-1]:
        return 0.0
    return math.exp((math.log(half[-1]) - math.log(half[0])) / (len(half) - 1))


@torch.no_grad()
def scale_recurrent(model: LanguageModel, gain: float) -> None:
    """Give the recurrent matrices, orthogonal gate by gate in a new model, this spectral norm."""
    for layer in model.recurrent_layers():
        layer.weight_hh.mul_(gain)


@torch.no_grad()
def spectral_norms(model: LanguageModel) -> dict[str, float]:
    """The largest singular value of the recurrent matrix of each gate of each layer."""
    return {
        f"W_h{gate}_{i}": float(torch.linalg.matrix_norm(block, 2))
        for i, layer in enumerate(model.recurrent_layers())
        for gate, block in zip(
            layer.spec.gates, layer.weight_hh.chunk(len(layer.spec.gates)), strict=True
        )
    }


@torch.no_grad()
def silence(model: LanguageModel) -> None:
    """Let every input be zero, so that a state of zero stays where it is."""
    model.embedding.weight.zero_()


@torch.no_grad()
def hold_open(model: LanguageModel, bias: float) -> None:
    """Let the gates through which a state passes on be open: f of an LSTM, z of a GRU."""
    for layer in model.recurrent_layers():
        if layer.spec.keeping_gate:
            layer.gate_biases()[layer.spec.keeping_gate].fill_(bias)
