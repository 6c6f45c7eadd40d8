"""Backpropagation through time by hand, in plain tensor code without autograd.

For the simplest network, x_t one-hot, s_t = U h_{t−1} + W x_t + b_h, h_t = tanh(s_t), z_t = V h_t +
b_q, ŷ_t = softmax(z_t), E_t = −log ŷ_{t, y_t} and E their mean over all N targets,

    e_t = ∂E/∂z_t = (ŷ_t − y_t) / N            ∂E/∂V = Σ e_t ⊗ h_t          ∂E/∂b_q = Σ e_t
    d_t = ∂E/∂s_t = (Vᵀ e_t + Uᵀ d_{t+1}) ∘ (1 − h_t ∘ h_t)                 ∂E/∂b_h = Σ d_t
    ∂E/∂U = Σ d_t ⊗ h_{t−1}                    ∂E/∂W = Σ d_t ⊗ x_t

(Werbos, "Backpropagation through time: what it does and how to do it", 1990). An LSTM and a GRU
differ only in the step from ∂E/∂h_t to d_t, which `STEPS` has for each. For stacked layers and for
embeddings the chain rule continues: Wᵀ d_t is the gradient of the outputs of the layer below.

Shapes: B batch, T time, V vocab_size, D width of a layer's inputs, H hidden_size, G gates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charnn.model.spec import layer_tensors

KINDS = ("weight_ih", "weight_hh", "bias")  # tensors of a layer, as in `layer_tensors`
Parts = tuple[Tensor, ...]  # parts of a state, (B, H) each, or values saved by a forward step
Gradients = dict[str, Tensor]
# (W x + b, U h, state) → (new state, values saved for the backward step)
ForwardStep = Callable[[Tensor, Tensor, Parts], tuple[Parts, Parts]]
# (∂E/∂ new state, saved values) → (∂E/∂(W x + b), ∂E/∂(U h), ∂E/∂ state except through U h)
BackwardStep = Callable[[Parts, Parts], tuple[Tensor, Tensor, Parts]]


def rnn_step(from_input: Tensor, from_hidden: Tensor, _: Parts) -> tuple[Parts, Parts]:
    """Compute h = tanh(W x + b + U h)."""
    h = torch.tanh(from_input + from_hidden)
    return (h,), (h,)


def rnn_backward(state_gradients: Parts, saved: Parts) -> tuple[Tensor, Tensor, Parts]:
    """Both terms have the gradient d = ∂E/∂h ∘ (1 − h ∘ h); the state acts through U only."""
    (dh,), (h,) = state_gradients, saved
    d = dh * (1 - h * h)
    return d, d, (torch.zeros_like(h),)


def gru_step(from_input: Tensor, from_hidden: Tensor, state: Parts) -> tuple[Parts, Parts]:
    """Compute n = tanh(W_n x + b + r ∘ U_n h) and h = (1 − z) ∘ n + z ∘ h."""
    in_r, in_z, in_n = from_input.chunk(3, 1)
    hidden_r, hidden_z, hidden_n = from_hidden.chunk(3, 1)
    r, z = torch.sigmoid(in_r + hidden_r), torch.sigmoid(in_z + hidden_z)
    n = torch.tanh(in_n + r * hidden_n)
    return ((1 - z) * n + z * state[0],), (r, z, n, hidden_n, state[0])


def gru_backward(state_gradients: Parts, saved: Parts) -> tuple[Tensor, Tensor, Parts]:
    """Backpropagate a GRU: the reset gate multiplies U_n h only, so the two terms differ."""
    (dh,), (r, z, n, hidden_n, previous) = state_gradients, saved
    dn = dh * (1 - z) * (1 - n * n)
    dz = dh * (previous - n) * z * (1 - z)
    dr = dn * hidden_n * r * (1 - r)
    return torch.cat([dr, dz, dn], 1), torch.cat([dr, dz, dn * r], 1), (dh * z,)


def lstm_step(from_input: Tensor, from_hidden: Tensor, state: Parts) -> tuple[Parts, Parts]:
    """Compute c = f ∘ c + i ∘ g and h = o ∘ tanh(c)."""
    s_i, s_f, s_g, s_o = (from_input + from_hidden).chunk(4, 1)
    i, f, g, o = torch.sigmoid(s_i), torch.sigmoid(s_f), torch.tanh(s_g), torch.sigmoid(s_o)
    c = f * state[1] + i * g
    tanh_c = torch.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, tanh_c, state[1])


def lstm_backward(state_gradients: Parts, saved: Parts) -> tuple[Tensor, Tensor, Parts]:
    """∂E/∂c comes from h and from the next c; between two cells it is multiplied by f only."""
    (dh, dc), (i, f, g, o, tanh_c, previous) = state_gradients, saved
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    gates = [
        dc * g * i * (1 - i),
        dc * previous * f * (1 - f),
        dc * i * (1 - g * g),
        dh * tanh_c * o * (1 - o),
    ]
    d = torch.cat(gates, 1)
    return d, d, (torch.zeros_like(dh), dc * f)


STEPS: dict[str, tuple[ForwardStep, BackwardStep]] = {
    "rnn": (rnn_step, rnn_backward),
    "gru": (gru_step, gru_backward),
    "lstm": (lstm_step, lstm_backward),
}


@dataclass(frozen=True)
class LayerTrace:
    """The forward pass of a layer.

    Inputs (T, B, D), outputs (T, B, H), h before each step (T, B, H), the values saved by each
    step, and the state after the last.
    """

    inputs: Tensor
    outputs: Tensor
    previous: Tensor
    saved: Sequence[Parts]
    final_state: Parts


def forward(cell: str, weights: Mapping[str, Tensor], inputs: Tensor, state: Parts) -> LayerTrace:
    """Run a layer over inputs (T, B, D)."""
    step, _ = STEPS[cell]
    previous, outputs, saved = [], [], []
    for x in inputs:
        previous.append(state[0])
        from_input = x @ weights["weight_ih"].T + weights["bias"]
        state, values = step(from_input, state[0] @ weights["weight_hh"].T, state)
        outputs.append(state[0])
        saved.append(values)
    return LayerTrace(inputs, torch.stack(outputs), torch.stack(previous), saved, state)


def backward(
    cell: str, weights: Mapping[str, Tensor], trace: LayerTrace, output_gradients: Tensor
) -> tuple[Gradients, Tensor]:
    """Return ∂E/∂ of the weights and of the inputs, from ∂E/∂h_t (T, B, H) of the layer above.

    Runs from the last step to the first and passes ∂E/∂ of the state from step to step.
    """
    _, step_back = STEPS[cell]
    gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    input_gradients = torch.zeros_like(trace.inputs)
    state_gradients = tuple(torch.zeros_like(part) for part in trace.final_state)
    for t in range(len(output_gradients) - 1, -1, -1):
        state_gradients = (state_gradients[0] + output_gradients[t], *state_gradients[1:])
        d_input, d_hidden, (direct, *others) = step_back(state_gradients, trace.saved[t])
        gradients["weight_ih"] += d_input.T @ trace.inputs[t]
        gradients["weight_hh"] += d_hidden.T @ trace.previous[t]
        gradients["bias"] += d_input.sum(0)
        input_gradients[t] = d_input @ weights["weight_ih"]
        state_gradients = (direct + d_hidden @ weights["weight_hh"], *others)
    return gradients, input_gradients


def gradients(
    cell: str, tensors: Mapping[str, Tensor], ids: Tensor, targets: Tensor, state: Parts
) -> Gradients:
    """Return ∂E/∂ of every tensor of a model, named as in its file, for ids and targets (B, T).

    E is the mean of −log ŷ over all targets; `state` is the state of all layers in order.
    """
    depth = sum(name.endswith("weight_hh") for name in tensors)
    layers = [
        {kind: tensors[name] for kind, name in zip(KINDS, layer_tensors(i), strict=True)}
        for i in range(depth)
    ]
    parts = len(state) // depth
    outputs, traces = tensors["embedding.weight"][ids.T], []
    for i, weights in enumerate(layers):
        traces.append(forward(cell, weights, outputs, state[i * parts : (i + 1) * parts]))
        outputs = traces[-1].outputs
    tied = "output.weight" not in tensors
    output = tensors["embedding.weight" if tied else "output.weight"]
    e = torch.softmax(outputs @ output.T + tensors["output.bias"], 2)
    e.scatter_add_(2, targets.T[:, :, None], -torch.ones_like(e[:, :, :1]))
    e /= ids.numel()
    found = {
        "output.weight": torch.einsum("tbv,tbh->vh", e, outputs),
        "output.bias": e.sum((0, 1)),
    }
    output_gradients = e @ output
    for i in range(depth - 1, -1, -1):
        of_layer, output_gradients = backward(cell, layers[i], traces[i], output_gradients)
        found |= {name: of_layer[kind] for kind, name in zip(KINDS, layer_tensors(i), strict=True)}
    embedding = torch.zeros_like(tensors["embedding.weight"])
    found["embedding.weight"] = embedding.index_add_(
        0, ids.T.flatten(), output_gradients.flatten(0, 1)
    )
    if tied:
        found["embedding.weight"] += found.pop("output.weight")
    return found
