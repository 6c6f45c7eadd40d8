"""Tiny models, vocabularies and datasets for tests without torch."""

from dataclasses import dataclass

import numpy as np

from charnn.config import ModelConfig, PrepareConfig
from charnn.data.dataset import Dataset, new_dataset, write_dataset
from charnn.data.prepare import encode_split
from charnn.model.numpy_model import NumpyModel
from charnn.model.spec import tensor_shapes
from charnn.tokenizers.char import CharTokenizer


def tiny_config(cell="lstm", num_layers=1, *, tie=False, vocab_size=11, hidden_size=7):
    """Return the shape of a network that is small enough for every test."""
    return ModelConfig(
        cell=cell,
        hidden_size=hidden_size,
        num_layers=num_layers,
        embedding_dim=hidden_size if tie else 5,
        tie_weights=tie,
        vocab_size=vocab_size,
    )


def random_tensors(config, seed=1, scale=0.7):
    """Return random weights with the names and shapes of the file format."""
    generator = np.random.default_rng(seed)
    return {
        name: (scale * generator.standard_normal(shape)).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }


def tiny_model(*args, seed=1, **kwargs):
    """Return a NumPy model with random weights."""
    config = tiny_config(*args, **kwargs)
    return NumpyModel(config, random_tensors(config, seed))


def make_dataset(folder, splits, tokenizer=None, config=None) -> Dataset:
    """Return a dataset of these texts, not written; the default tokenizer is char."""
    tokenizer = tokenizer or CharTokenizer.build(splits["train"])
    encoded = {name: encode_split(text, tokenizer) for name, text in splits.items()}
    return new_dataset(folder, tokenizer, encoded, config or PrepareConfig())


def written_dataset(*args, replace=False, **kwargs) -> Dataset:
    """Return the dataset of `make_dataset`, written to its folder."""
    dataset = make_dataset(*args, **kwargs)
    write_dataset(dataset, replace=replace)
    return dataset


@dataclass
class Vocabulary:
    """Tokens by their bytes, for tests of generation without a tokenizer."""

    pieces: list[bytes]
    unk_id: int | None = None

    @property
    def vocab_size(self) -> int:
        """Return the number of tokens."""
        return len(self.pieces)
