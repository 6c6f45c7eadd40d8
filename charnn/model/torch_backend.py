"""The language model in PyTorch behind the interface of the NumPy one, for GPUs."""

from collections.abc import Mapping

import numpy as np
import torch

from charnn.arrays import Floats, Ids
from charnn.config import ModelConfig
from charnn.model.language_model import with_weights
from charnn.model.numpy_model import State


class TorchStepper:
    """As `stepper.Stepper`, computed on a device; states and logits are NumPy arrays as there."""

    def __init__(
        self, config: ModelConfig, tensors: Mapping[str, Floats], device: torch.device
    ) -> None:
        self.config, self.device = config, device
        self.model = with_weights(config, tensors).to(device)

    def initial_state(self, batch_size: int = 1) -> State:
        """Zeros, (B, H) for each part of the state."""
        return tuple(part.cpu().numpy() for part in self.model.initial_state(batch_size))

    def streams(self, state: State) -> "TorchStreams":
        """B texts in flight, from a state, which is copied."""
        return TorchStreams(self, state)


class TorchStreams:
    """As `stepper.Streams`: `logits`, (B, V), are those of the next token."""

    def __init__(self, stepper: TorchStepper, state: State) -> None:
        self.model, self.device = stepper.model, stepper.device
        self._state = tuple(torch.tensor(part, device=self.device) for part in state)
        self.logits: Floats = np.zeros((len(state[0]), stepper.config.vocab_size), np.float32)

    @property
    def state(self) -> State:
        """The state as a value, (B, H) each: a copy."""
        return tuple(part.cpu().numpy().copy() for part in self._state)

    def put(self, streams: slice, state: State) -> None:
        """Let some streams go on from `state`; the others are left alone."""
        with torch.inference_mode():
            parts = tuple(part.clone() for part in self._state)
            for part, value in zip(parts, state, strict=True):
                part[streams] = torch.tensor(value, device=self.device)
        self._state = parts

    def step(self, ids: Ids) -> Floats:
        """Feed one token to each stream, (B,); the logits of the next, (B, V)."""
        return self.feed(ids[:, None])

    def feed(self, ids: Ids) -> Floats:
        """Feed T tokens to each stream, (B, T); the logits of the next, (B, V)."""
        with torch.inference_mode():
            inputs = torch.from_numpy(ids.astype(np.int64)).to(self.device)
            outputs, _, self._state = self.model.hidden(inputs, self._state)
            return self._predicted(outputs[:, -1])

    def predict(self) -> Floats:
        """The logits of the next token, (B, V), from the state as it is."""
        parts = len(self.model.recurrent_layers()[-1].state_names)
        with torch.inference_mode():
            return self._predicted(self._state[-parts])

    def _predicted(self, top: torch.Tensor) -> Floats:
        self.logits[:] = self.model.output(top).cpu().numpy()
        return self.logits
