"""Recurrent layers in PyTorch: (inputs, state) in, (outputs, state) out.

The state is a tuple of (B, H) tensors, (h, c) for an LSTM and (h,) for the others; the caller
keeps it, detaches it and saves it.

Shapes: B batch, T time, D width of the inputs, H hidden_size. The textbooks' names are, for a
vanilla RNN, h_t = tanh(x_t W_xh + h_{t-1} W_hh + b_h); `weight_ih` is W_xh transposed, one block
of H rows for each gate, `weight_hh` likewise W_hh, and `bias` is b_h.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LONGEST_KEPT = 3.0  # bias at which a gate is 0.95 open: 1 / (1 - 0.95) tokens

State = tuple[Tensor, ...]


class RecurrentLayer(nn.Module):
    """One layer of recurrent units: (B, T, D), state → (B, T, H), state.

    PyTorch's fused layers do the work. They come with two biases whose sum alone matters (for a
    GRU it leaves out only the bias inside the reset gate's product); the second is frozen at zero.
    `weight_dropout` drops weights of the recurrent matrix in training, one mask a call (Merity,
    Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018).
    """

    fused: ClassVar[type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]]
    operation: ClassVar[Callable[..., tuple[Tensor, ...]]]  # the same as a function of its weights
    gates: ClassVar[tuple[str, ...]]  # the blocks of the weight matrices, in PyTorch's order
    keeping_gate: ClassVar[str] = ""  # the one that multiplies a unit's state
    writing_gate: ClassVar[str] = ""  # the one that multiplies what is added to it
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, input_size: int, hidden_size: int, weight_dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_dropout = weight_dropout
        self.fused_layer = self.fused(input_size, hidden_size, batch_first=True)
        self._second_bias.requires_grad_(False)
        self.reset_parameters()

    @property
    def weight_ih(self) -> Tensor:
        """Input weights, (gates·H, D)."""
        return self.fused_layer.weight_ih_l0  # type: ignore[return-value]  # a Parameter

    @property
    def weight_hh(self) -> Tensor:
        """Recurrent weights, (gates·H, H)."""
        return self.fused_layer.weight_hh_l0  # type: ignore[return-value]  # a Parameter

    @property
    def bias(self) -> Tensor:
        """Biases, (gates·H,)."""
        return self.fused_layer.bias_ih_l0  # type: ignore[return-value]  # a Parameter

    def gate_biases(self) -> dict[str, Tensor]:
        """The part of the bias that belongs to each gate, (H,), by the gate's name; views."""
        return dict(zip(self.gates, self.bias.chunk(len(self.gates)), strict=True))

    @property
    def _second_bias(self) -> Tensor:
        return self.fused_layer.bias_hh_l0  # type: ignore[return-value]  # a Parameter

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Uniform input weights, orthogonal recurrent weights gate by gate, time scales by bias.

        Orthogonal: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of
        learning in deep linear neural networks", 2014. The keeping gate's biases spread evenly
        over the units, from one that keeps its state for a token to one that does so for some
        twenty; the writing gate's are opposite. After Tallec and Ollivier, "Can recurrent neural
        networks warp time?", 2018. Other biases are zero.
        """
        bound = 1 / math.sqrt(self.hidden_size)
        self.weight_ih.uniform_(-bound, bound)
        for block in self.weight_hh.chunk(len(self.gates)):
            nn.init.orthogonal_(block)
        spread = torch.linspace(-LONGEST_KEPT, LONGEST_KEPT, self.hidden_size)
        signs = {self.keeping_gate: 1, self.writing_gate: -1}
        for gate, bias in self.gate_biases().items():
            bias.copy_(signs.get(gate, 0) * spread)
        self._second_bias.zero_()

    def initial_state(self, batch_size: int) -> State:
        """Zeros, (B, H) for each part of the state, where the weights are."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return tuple(zeros.clone() for _ in self.state_names)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run T steps from `state`; the state after the last one comes back."""
        before = tuple(part.unsqueeze(0) for part in state)
        dtype = _reduced_on_gpu(inputs.device)
        if dtype is not None or (self.training and self.weight_dropout):
            outputs, *after = self._as_function(inputs, before, dtype)
        elif len(before) == 1:
            outputs, *after = self.fused_layer(inputs, before[0])
        else:
            outputs, after = self.fused_layer(inputs, before)
        return outputs, tuple(part.squeeze(0) for part in after)

    def _as_function(
        self, inputs: Tensor, before: State, dtype: torch.dtype | None
    ) -> tuple[Tensor, ...]:
        """The same with weights that are not the layer's own: dropped, or in another type."""
        dropped = F.dropout(self.weight_hh, self.weight_dropout, self.training)
        weights = [self.weight_ih, dropped, self.bias, self._second_bias]
        if dtype is None:
            return self._operated(inputs, before, weights)
        with torch.autocast(inputs.device.type, enabled=False):
            before = tuple(part.to(dtype) for part in before)
            return self._operated(inputs.to(dtype), before, [part.to(dtype) for part in weights])

    def _operated(self, inputs: Tensor, before: State, weights: list[Tensor]) -> tuple[Tensor, ...]:
        state = before[0] if len(before) == 1 else before
        has_biases, layers, rate, training, bidirectional, batch_first = (
            True,
            1,
            0.0,
            self.training,
            False,
            True,
        )
        return type(self).operation(
            inputs, state, weights, has_biases, layers, rate, training, bidirectional, batch_first
        )


def _reduced_on_gpu(device: torch.device) -> torch.dtype | None:
    """The type to cast to by hand: on a GPU autocast runs cuDNN's layers in float16, always."""
    if device.type != "cuda" or not torch.is_autocast_enabled("cuda"):
        return None
    return torch.get_autocast_dtype("cuda")


class RNN(RecurrentLayer):
    """h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h). Elman, "Finding structure in time", 1990."""

    fused = nn.RNN
    operation = torch.rnn_tanh
    gates = ("h",)


class GRU(RecurrentLayer):
    """Gated recurrent unit with reset gate r and update gate z. Cho et al., 2014.

    n_t = tanh(W_xn x_t + b_n + r_t ∘ (W_hn h_{t-1})) and h_t = (1 - z_t) ∘ n_t + z_t ∘ h_{t-1}.
    """

    fused = nn.GRU
    operation = torch.gru
    gates = ("r", "z", "n")
    keeping_gate = "z"


class LSTM(RecurrentLayer):
    """Long short-term memory with input, forget and output gates. Hochreiter and Schmidhuber, 1997.

    c_t = f_t ∘ c_{t-1} + i_t ∘ tanh(g_t) and h_t = o_t ∘ tanh(c_t).
    """

    fused = nn.LSTM
    operation = torch.lstm
    gates = ("i", "f", "g", "o")
    keeping_gate = "f"
    writing_gate = "i"
    state_names = ("h", "c")


CELLS: dict[str, type[RecurrentLayer]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


class SequenceDropout(nn.Module):
    """Dropout of (B, T, D) with one mask for all T steps of a row.

    "Variational" dropout: Gal and Ghahramani, "A theoretically grounded application of dropout in
    recurrent neural networks", 2016. The mask comes from torch's ordinary random stream, which a
    checkpoint can save, unlike cuDNN's own.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs` with features zeroed at `rate` and the rest scaled up; unchanged in eval."""
        if not self.training or self.rate == 0:
            return inputs
        keep = 1 - self.rate
        mask = inputs.new_empty(inputs.shape[0], 1, inputs.shape[2]).bernoulli_(keep).div_(keep)
        return inputs * mask
