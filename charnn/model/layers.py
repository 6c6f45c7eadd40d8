"""Recurrent layers in PyTorch: (inputs, state) in, (outputs, state) out.

The state is a tuple of (B, H) tensors, (h, c) for an LSTM and (h,) for the others; the caller
stores it, detaches it and saves it.

Shapes: B batch, T time, D width of the inputs, H hidden_size, G gates. In textbook notation a
vanilla RNN is h_t = tanh(x_t W_xh + h_{t-1} W_hh + b_h). `weight_ih` is W_xh transposed, with one
block of H rows for each gate; `weight_hh` is W_hh in the same layout, and `bias` is b_h.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charnn.model.spec import CELL_SPECS, CellSpec

# Largest initial bias of a keeping gate: sigmoid(3) = 0.95 keeps a state for about
# 1 / (1 - 0.95) = 20 tokens. Measured in benchmarks/README.md, starts.py.
LONGEST_KEPT = 3.0

LayerState = tuple[Tensor, ...]


class RecurrentLayer(nn.Module):
    """A recurrent layer: (B, T, D), state → (B, T, H), state.

    Wraps a fused layer of PyTorch. Fused layers have two biases that are added, so the second one
    is frozen at zero (in a GRU, the one that the reset gate multiplies). `weight_dropout` drops
    weights of the recurrent matrix during training, with one mask per call (Merity, Keskar and
    Socher, "Regularizing and optimizing LSTM language models", 2018).
    """

    spec: ClassVar[CellSpec]
    fused: ClassVar[type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]]
    function: ClassVar[Callable[..., tuple[Tensor, ...]]]  # `fused` as a function of its weights

    def __init__(self, input_size: int, hidden_size: int, weight_dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_dropout = weight_dropout
        self.fused_layer = self.fused(input_size, hidden_size, batch_first=True)
        self._second_bias.requires_grad_(False)
        self.reset_parameters()

    @property
    def weight_ih(self) -> Tensor:
        """Return the input weights, (G·H, D)."""
        return self.fused_layer.weight_ih_l0  # type: ignore[return-value]  # a Parameter

    @property
    def weight_hh(self) -> Tensor:
        """Return the recurrent weights, (G·H, H)."""
        return self.fused_layer.weight_hh_l0  # type: ignore[return-value]  # a Parameter

    @property
    def bias(self) -> Tensor:
        """Return the biases, (G·H,)."""
        return self.fused_layer.bias_ih_l0  # type: ignore[return-value]  # a Parameter

    def gate_biases(self) -> dict[str, Tensor]:
        """Return the biases of each gate, (H,), by the gate's name, as views."""
        gates = self.spec.gates
        return dict(zip(gates, self.bias.chunk(len(gates)), strict=True))

    @property
    def _second_bias(self) -> Tensor:
        return self.fused_layer.bias_hh_l0  # type: ignore[return-value]  # a Parameter

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialize input weights uniformly, recurrent weights orthogonally, biases by time scale.

        Each gate's block of the recurrent matrix is orthogonal: Saxe, McClelland and Ganguli,
        "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
        2014. The biases of the keeping gate are spread evenly over the units, from units that keep
        their state for one token to units that keep it for about twenty; those of the writing gate
        have the opposite sign. After Tallec and Ollivier, "Can recurrent neural networks warp
        time?", 2018. All other biases are zero. Measured in benchmarks/README.md, starts.py.
        """
        bound = 1 / math.sqrt(self.hidden_size)
        self.weight_ih.uniform_(-bound, bound)
        for block in self.weight_hh.chunk(len(self.spec.gates)):
            nn.init.orthogonal_(block)
        spread = torch.linspace(-LONGEST_KEPT, LONGEST_KEPT, self.hidden_size)
        signs = {self.spec.keeping_gate: 1, self.spec.writing_gate: -1}
        for gate, bias in self.gate_biases().items():
            bias.copy_(signs.get(gate, 0) * spread)
        self._second_bias.zero_()

    def initial_state(self, batch_size: int) -> LayerState:
        """Return zeros, (B, H) for each part of the state, on the device of the weights."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return tuple(zeros.clone() for _ in self.spec.state)

    def forward(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return the outputs of T steps from `state`, and the state after the last step."""
        before = tuple(part.unsqueeze(0) for part in state)
        dtype = _autocast_dtype_on_gpu(inputs.device)
        if dtype is not None or (self.training and self.weight_dropout):
            outputs, *after = self._run_with_copies(inputs, before, dtype)
        elif len(before) == 1:
            outputs, *after = self.fused_layer(inputs, before[0])
        else:
            outputs, after = self.fused_layer(inputs, before)
        return outputs, tuple(part.squeeze(0) for part in after)

    def _run_with_copies(
        self, inputs: Tensor, before: LayerState, dtype: torch.dtype | None
    ) -> tuple[Tensor, ...]:
        """Run the layer on copies of its weights: with dropout, and cast to `dtype` if given."""
        dropped = F.dropout(self.weight_hh, self.weight_dropout, self.training)
        weights = [self.weight_ih, dropped, self.bias, self._second_bias]
        if dtype is None:
            return self._run(inputs, before, weights)
        with torch.autocast(inputs.device.type, enabled=False):
            before = tuple(part.to(dtype) for part in before)
            return self._run(inputs.to(dtype), before, [part.to(dtype) for part in weights])

    def _run(self, inputs: Tensor, before: LayerState, weights: list[Tensor]) -> tuple[Tensor, ...]:
        return type(self).function(
            inputs,
            before[0] if len(before) == 1 else before,
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )


def _autocast_dtype_on_gpu(device: torch.device) -> torch.dtype | None:
    """Return the autocast type on a GPU: autocast itself runs cuDNN layers only in float16."""
    if device.type != "cuda" or not torch.is_autocast_enabled("cuda"):
        return None
    return torch.get_autocast_dtype("cuda")


class RNN(RecurrentLayer):
    """A vanilla RNN: h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h). Elman, 1990."""

    spec = CELL_SPECS["rnn"]
    fused = nn.RNN
    function = torch.rnn_tanh


class GRU(RecurrentLayer):
    """A gated recurrent unit with reset gate r and update gate z. Cho et al., 2014.

    n_t = tanh(W_xn x_t + b_n + r_t ∘ (W_hn h_{t-1})) and h_t = (1 - z_t) ∘ n_t + z_t ∘ h_{t-1}.
    """

    spec = CELL_SPECS["gru"]
    fused = nn.GRU
    function = torch.gru


class LSTM(RecurrentLayer):
    """Long short-term memory with gates i, f and o. Hochreiter and Schmidhuber, 1997.

    c_t = f_t ∘ c_{t-1} + i_t ∘ tanh(g_t) and h_t = o_t ∘ tanh(c_t).
    """

    spec = CELL_SPECS["lstm"]
    fused = nn.LSTM
    function = torch.lstm


LAYERS: dict[str, type[RecurrentLayer]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


class SequenceDropout(nn.Module):
    """Dropout of (B, T, D) with one mask for all T steps of a row.

    "Variational" dropout: Gal and Ghahramani, "A theoretically grounded application of dropout in
    recurrent neural networks", 2016. The mask comes from torch's random number generator, whose
    state a checkpoint can save; that of cuDNN's dropout cannot be saved.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `inputs` with features zeroed at `rate` and the rest scaled up; no-op in eval."""
        if not self.training or self.rate == 0:
            return inputs
        keep = 1 - self.rate
        mask = inputs.new_empty(inputs.shape[0], 1, inputs.shape[2]).bernoulli_(keep).div_(keep)
        return inputs * mask
