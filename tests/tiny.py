"""Tiny models of random weights, and a vocabulary for them, for tests without torch."""

from dataclasses import dataclass

import numpy as np

from charnn.config import ModelConfig
from charnn.model.numpy_model import NumpyModel
from charnn.model.spec import tensor_shapes


def tiny_config(cell="lstm", num_layers=1, *, tie=False, vocab_size=11, hidden_size=7):
    """The shape of a network small enough to compute anew in every test."""
    return ModelConfig(
        cell=cell,
        hidden_size=hidden_size,
        num_layers=num_layers,
        embedding_dim=hidden_size if tie else 5,
        tie_weights=tie,
        vocab_size=vocab_size,
    )


def random_tensors(config, seed=1, scale=0.7):
    """Weights of every name and shape of the file format, far enough from zero to matter."""
    generator = np.random.default_rng(seed)
    return {
        name: (scale * generator.standard_normal(shape)).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }


def tiny_model(*args, seed=1, **kwargs):
    """Return a NumPy model of random weights."""
    config = tiny_config(*args, **kwargs)
    return NumpyModel(config, random_tensors(config, seed))


@dataclass
class Vocabulary:
    """Tokens by their bytes: what generation needs of a tokenizer."""

    pieces: list[bytes]
    unk_id: int | None = None

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return len(self.pieces)
