"""Sampling with PyTorch on a GPU, with the interface of `backend`."""

import numpy as np
import torch

from charnn.arrays import Doubles, Floats, Ids
from charnn.model.backend import State
from charnn.model.language_model import LanguageModel
from charnn.model.loss import positions_at_once

CHUNK = 256  # maximum tokens per stream scored at once; a large vocabulary allows fewer
BYTES_PER_LOGIT = 20  # logits in float32 and float64, and log-probabilities in float64


class TorchModel:
    """A `backend.ModelBackend` on the device of a network. States and logits are NumPy arrays."""

    def __init__(self, network: LanguageModel) -> None:
        self.network, self.config = network, network.config

    def initial_state(self, batch_size: int = 1) -> State:
        """Return zeros, (B, H) for each part of the state."""
        return tuple(part.cpu().numpy() for part in self.network.initial_state(batch_size))

    def streams(self, state: State) -> "TorchStreams":
        """Return B streams that start from a copy of `state`."""
        return TorchStreams(self, state)


class TorchStreams:
    """`backend.Streams` in PyTorch."""

    def __init__(self, model: TorchModel, state: State) -> None:
        self.network, self.device = model.network, model.network.device
        self._state = tuple(torch.tensor(part, device=self.device) for part in state)

    @property
    def state(self) -> State:
        """Return a copy of the hidden state, (B, H) for each part."""
        return tuple(part.cpu().numpy().copy() for part in self._state)

    def put(self, streams: slice, state: State) -> None:
        """Set the hidden state of the selected streams; the others are unchanged."""
        with torch.inference_mode():
            parts = tuple(part.clone() for part in self._state)
            for part, value in zip(parts, state, strict=True):
                part[streams] = torch.tensor(value, device=self.device)
        self._state = parts

    def step(self, ids: Ids) -> Floats:
        """Read one token per stream, (B,), and return the logits of the next token, (B, V)."""
        return self.feed(ids[:, None])

    def feed(self, ids: Ids) -> Floats:
        """Read T tokens per stream, (B, T), and return the logits of the next token, (B, V)."""
        return self._predict(self._read(ids)[:, -1])

    def predict(self) -> Floats:
        """Return the logits of the next token, (B, V), from the current hidden state."""
        parts = len(self.network.recurrent_layers()[-1].spec.state)
        return self._predict(self._state[-parts])

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Read ids (B, T) and return the log-probabilities of their targets in nats, (B, T).

        `targets[b, t]` is the token after `ids[b, t]`. The result is NaN for a negative target.
        """
        result = np.empty(ids.shape)
        at_once = positions_at_once(len(ids), self.network.config.vocab_size, BYTES_PER_LOGIT)
        for start in range(0, ids.shape[1], length := min(CHUNK, at_once)):
            part = slice(start, start + length)
            with torch.inference_mode():
                logits = self.network.output(self._read(ids[:, part])).double()
                chosen = self._tensor(targets[:, part]).clamp(min=0)[..., None]
                log_probs = logits.log_softmax(-1).gather(-1, chosen)[..., 0]
            result[:, part] = log_probs.cpu().numpy()
        return np.where(targets < 0, np.nan, result)

    @torch.inference_mode()
    def _read(self, ids: Ids) -> torch.Tensor:
        """Advance by ids (B, T) and return the outputs of the top layer, (B, T, H)."""
        outputs, _, self._state = self.network.hidden(self._tensor(ids), self._state)
        return outputs

    @torch.inference_mode()
    def _predict(self, top: torch.Tensor) -> Floats:
        logits: Floats = self.network.output(top).cpu().numpy()
        return logits

    def _tensor(self, ids: Ids) -> torch.Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(self.device)
