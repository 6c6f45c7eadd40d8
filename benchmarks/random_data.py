"""Random texts and models with random weights, the same at each run."""

import random
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charnn.tokenizers.tokenizer import Tokenizer

LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def random_text(size: int, words: int = 5000) -> str:
    """Return lines of random ASCII words, `size` characters, from a vocabulary of `words`."""
    generator = random.Random(1)
    weights = range(len(LETTERS), 0, -1)
    vocabulary = [
        "".join(generator.choices(LETTERS, weights, k=generator.randint(1, 9)))
        for _ in range(words)
    ]
    lines, written = [], 0
    while written < size:
        line = " ".join(generator.choices(vocabulary, k=generator.randint(5, 14))).capitalize()
        lines.append(line + ".\n")
        written += len(lines[-1])
    return "".join(lines)[:size]


def write_random_model(
    path: Path, tokenizer: "Tokenizer", fingerprint: str = "", **settings: int
) -> None:
    """Write a model with random weights; `settings` are those of its network."""
    import numpy as np

    from charnn.config import ModelConfig
    from charnn.model.model_file import ModelFile, write_model
    from charnn.model.spec import tensor_shapes

    config = ModelConfig(vocab_size=tokenizer.vocab_size, **settings)
    generator = np.random.default_rng(1)
    tensors = {
        name: generator.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    write_model(path, ModelFile(config, tokenizer, 0, tensors, fingerprint=fingerprint))
