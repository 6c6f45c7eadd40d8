"""The interface of a model that predicts tokens, implemented in NumPy and in PyTorch.

See `numpy_model` and `torch_backend`. A hidden state is a plain value that can be copied and saved.

Shapes: B streams, T time, V vocab_size, H hidden_size.
"""

from typing import Protocol

from charnn.arrays import Doubles, Floats, Ids
from charnn.config import ModelConfig

State = tuple[Floats, ...]  # (B, H) each, layer by layer: h_0, c_0, h_1, c_1, … or h_0, h_1, …


class Streams(Protocol):
    """B texts that a model reads in parallel, each with its hidden state.

    A method may overwrite the logits that an earlier call returned.
    """

    @property
    def state(self) -> State:
        """Return a copy of the hidden state, (B, H) for each part."""

    def put(self, streams: slice, state: State) -> None:
        """Set the hidden state of the selected streams; the others are unchanged."""

    def step(self, ids: Ids) -> Floats:
        """Read one token per stream, (B,), and return the logits of the next token, (B, V)."""

    def feed(self, ids: Ids) -> Floats:
        """Read T tokens per stream, (B, T), and return the logits of the next token, (B, V)."""

    def predict(self) -> Floats:
        """Return the logits of the next token, (B, V), from the current hidden state."""

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Read ids (B, T) and return the log-probabilities of their targets in nats, (B, T).

        `targets[b, t]` is the token after `ids[b, t]`. The result is NaN for a negative target.
        """


class ModelBackend(Protocol):
    """The weights of a model; any number of `Streams` share them."""

    config: ModelConfig

    def initial_state(self, batch_size: int = 1) -> State:
        """Return zeros, (B, H) for each part of the state."""

    def streams(self, state: State) -> Streams:
        """Return B streams that start from a copy of `state`."""
