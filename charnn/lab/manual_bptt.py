"""Backpropagation through time by hand, in plain tensor code: no gradient here is autograd's.

For the simplest network, x_t one-hot, s_t = U h_{t−1} + W x_t + b_h, h_t = tanh(s_t), z_t = V h_t +
b_q, ŷ_t = softmax(z_t), E_t = −log ŷ_{t, y_t} and E their mean over all N targets,

    e_t = ∂E/∂z_t = (ŷ_t − y_t) / N            ∂E/∂V = Σ e_t ⊗ h_t          ∂E/∂b_q = Σ e_t
    d_t = ∂E/∂s_t = (Vᵀ e_t + Uᵀ d_{t+1}) ∘ (1 − h_t ∘ h_t)                 ∂E/∂b_h = Σ d_t
    ∂E/∂U = Σ d_t ⊗ h_{t−1}                    ∂E/∂W = Σ d_t ⊗ x_t

(Werbos, "Backpropagation through time: what it does and how to do it", 1990). An LSTM and a GRU
differ in the step from ∂E/∂h_t to d_t alone, which `CELLS` has for each; layers are stacked, and
tokens embedded, by the chain rule once more: Wᵀ d_t is what the layer below is told.

Shapes: B batch, T time, V vocab_size, D width of a layer's inputs, H hidden_size, G gates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Parts = tuple[Tensor, ...]  # of a state, (B, H) each, or what a cell keeps of a step
Gradients = dict[str, Tensor]
# From W x + b, U h and the state: the new state, and what the way back needs to know.
Step = Callable[[Tensor, Tensor, Parts], tuple[Parts, Parts]]
# From ∂E/∂ of the new state, and that: ∂E/∂(W x + b), ∂E/∂(U h), and ∂E/∂ of the state before as
# far as it does not pass through U.
Back = Callable[[Parts, Parts], tuple[Tensor, Tensor, Parts]]


def rnn_step(from_input: Tensor, from_hidden: Tensor, _: Parts) -> tuple[Parts, Parts]:
    """An RNN: h = tanh(W x + b + U h)."""
    h = torch.tanh(from_input + from_hidden)
    return (h,), (h,)


def rnn_back(after: Parts, kept: Parts) -> tuple[Tensor, Tensor, Parts]:
    """Both sums have d = ∂E/∂h ∘ (1 − h ∘ h), and the state acts through U alone."""
    (dh,), (h,) = after, kept
    d = dh * (1 - h * h)
    return d, d, (torch.zeros_like(h),)


def gru_step(from_input: Tensor, from_hidden: Tensor, state: Parts) -> tuple[Parts, Parts]:
    """A GRU: n = tanh(W_n x + b + r ∘ U_n h), and h = (1 − z) ∘ n + z ∘ h."""
    in_r, in_z, in_n = from_input.chunk(3, 1)
    hidden_r, hidden_z, hidden_n = from_hidden.chunk(3, 1)
    r, z = torch.sigmoid(in_r + hidden_r), torch.sigmoid(in_z + hidden_z)
    n = torch.tanh(in_n + r * hidden_n)
    return ((1 - z) * n + z * state[0],), (r, z, n, hidden_n, state[0])


def gru_back(after: Parts, kept: Parts) -> tuple[Tensor, Tensor, Parts]:
    """The reset gate multiplies U_n h alone, so the two sums have different gradients."""
    (dh,), (r, z, n, hidden_n, before) = after, kept
    dn = dh * (1 - z) * (1 - n * n)
    dz = dh * (before - n) * z * (1 - z)
    dr = dn * hidden_n * r * (1 - r)
    return torch.cat([dr, dz, dn], 1), torch.cat([dr, dz, dn * r], 1), (dh * z,)


def lstm_step(from_input: Tensor, from_hidden: Tensor, state: Parts) -> tuple[Parts, Parts]:
    """An LSTM: c = f ∘ c + i ∘ g, and h = o ∘ tanh(c)."""
    s_i, s_f, s_g, s_o = (from_input + from_hidden).chunk(4, 1)
    i, f, g, o = torch.sigmoid(s_i), torch.sigmoid(s_f), torch.tanh(s_g), torch.sigmoid(s_o)
    c = f * state[1] + i * g
    tanh_c = torch.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, tanh_c, state[1])


def lstm_back(after: Parts, kept: Parts) -> tuple[Tensor, Tensor, Parts]:
    """∂E/∂c comes from h and from the c that follows; f is all that lies between two cells."""
    (dh, dc), (i, f, g, o, tanh_c, before) = after, kept
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    gates = [
        dc * g * i * (1 - i),
        dc * before * f * (1 - f),
        dc * i * (1 - g * g),
        dh * tanh_c * o * (1 - o),
    ]
    d = torch.cat(gates, 1)
    return d, d, (torch.zeros_like(dh), dc * f)


CELLS: dict[str, tuple[Step, Back]] = {
    "rnn": (rnn_step, rnn_back),
    "gru": (gru_step, gru_back),
    "lstm": (lstm_step, lstm_back),
}


@dataclass(frozen=True)
class Read:
    """What a layer has read and done.

    Inputs (T, B, D), outputs (T, B, H), h before each step (T, B, H), what the cell kept of each
    step, and the state after the last.
    """

    inputs: Tensor
    outputs: Tensor
    before: Tensor
    kept: Sequence[Parts]
    after: Parts


def forward(cell: str, weights: Mapping[str, Tensor], inputs: Tensor, state: Parts) -> Read:
    """Run a layer over inputs (T, B, D)."""
    step, _ = CELLS[cell]
    before, outputs, kept = [], [], []
    for x in inputs:
        before.append(state[0])
        from_input = x @ weights["weight_ih"].T + weights["bias"]
        state, known = step(from_input, state[0] @ weights["weight_hh"].T, state)
        outputs.append(state[0])
        kept.append(known)
    return Read(inputs, torch.stack(outputs), torch.stack(before), kept, state)


def backward(
    cell: str, weights: Mapping[str, Tensor], read: Read, told: Tensor
) -> tuple[Gradients, Tensor]:
    """From ∂E/∂h_t as the layer above tells it, (T, B, H): ∂E/∂ of the weights, and of the inputs.

    Goes back from the last step to the first, with ∂E/∂ of the state as it is handed on.
    """
    _, back = CELLS[cell]
    gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    inputs = torch.zeros_like(read.inputs)
    handed_on = tuple(torch.zeros_like(part) for part in read.after)
    for t in range(len(told) - 1, -1, -1):
        after = (handed_on[0] + told[t], *handed_on[1:])
        d_input, d_hidden, (around, *others) = back(after, read.kept[t])
        gradients["weight_ih"] += d_input.T @ read.inputs[t]
        gradients["weight_hh"] += d_hidden.T @ read.before[t]
        gradients["bias"] += d_input.sum(0)
        inputs[t] = d_input @ weights["weight_ih"]
        handed_on = (around + d_hidden @ weights["weight_hh"], *others)
    return gradients, inputs


def gradients(
    cell: str, tensors: Mapping[str, Tensor], ids: Tensor, targets: Tensor, state: Parts
) -> Gradients:
    """∂E/∂ of every tensor of a model, named as in its file, for ids and targets (B, T).

    E is the mean of −log ŷ over all targets; `state` is the model's, layer after layer.
    """
    depth = sum(name.endswith("weight_hh") for name in tensors)
    layers = [
        {kind: tensors[f"layers.{i}.{kind}"] for kind in ("weight_ih", "weight_hh", "bias")}
        for i in range(depth)
    ]
    parts = len(state) // depth
    outputs, reads = tensors["embedding.weight"][ids.T], []
    for i, weights in enumerate(layers):
        reads.append(forward(cell, weights, outputs, state[i * parts : (i + 1) * parts]))
        outputs = reads[-1].outputs
    tied = "output.weight" not in tensors
    output = tensors["embedding.weight" if tied else "output.weight"]
    e = torch.softmax(outputs @ output.T + tensors["output.bias"], 2)
    e.scatter_add_(2, targets.T[:, :, None], -torch.ones_like(e[:, :, :1]))
    e /= ids.numel()
    found = {
        "output.weight": torch.einsum("tbv,tbh->vh", e, outputs),
        "output.bias": e.sum((0, 1)),
    }
    told = e @ output
    for i in range(depth - 1, -1, -1):
        of_layer, told = backward(cell, layers[i], reads[i], told)
        found |= {f"layers.{i}.{kind}": gradient for kind, gradient in of_layer.items()}
    embedded = torch.zeros_like(tensors["embedding.weight"])
    found["embedding.weight"] = embedded.index_add_(0, ids.T.flatten(), told.flatten(0, 1))
    if tied:
        found["embedding.weight"] += found.pop("output.weight")
    return found
