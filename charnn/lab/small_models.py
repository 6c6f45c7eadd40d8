"""Small networks and a text for the experiments, trained by the ordinary loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from charnn.arrays import Ids
from charnn.config import ModelConfig, NetworkConfig, TrainConfig, validate
from charnn.data.corpora import Catalogue
from charnn.data.samplers import SAMPLERS
from charnn.data.splits import split_text
from charnn.evaluation.metrics import TokenLengths
from charnn.model.device import Arithmetic
from charnn.model.language_model import LanguageModel
from charnn.tokenizers import tokenizer
from charnn.training.loop import TrainLoop

CPU = Arithmetic(torch.device("cpu"), "float32")
BOOK = "lamplighter"  # the longest text that needs no download
VAL_FRAC = 0.1


@dataclass(frozen=True)
class Book:
    """The ids of a text in characters, split for validation, and the lengths of its tokens."""

    train: Ids
    val: Ids
    vocab_size: int
    start_token: int
    lengths: TokenLengths


def embedded_book() -> Book:
    """Return the book that is distributed with charnn."""
    text = Catalogue().fetch(BOOK)["train"].decode("utf-8")
    parts = split_text(text, VAL_FRAC, 0)
    characters = tokenizer.build("char", parts["train"])
    train, val = (characters.encode(parts[split]) for split in ("train", "val"))
    newline = characters.pieces.index(b"\n")
    return Book(train, val, characters.vocab_size, newline, TokenLengths.of(characters))


def new_training(
    settings: Mapping[str, Any],
    vocab_size: int,
    tokens: Ids,
    *,
    targets: Ids | None = None,
    unk_id: int | None = None,
) -> TrainLoop:
    """A training about to begin, its weights and its order of the tokens drawn from the seed.

    `settings` are fields of `TrainConfig`.
    """
    config = validate(TrainConfig, settings)
    torch.manual_seed(config.seed)
    shape = {name: getattr(config, name) for name in NetworkConfig.model_fields}
    model = LanguageModel(ModelConfig(**shape, vocab_size=vocab_size))
    sampler = SAMPLERS[config.sampler](
        tokens, config.batch_size, config.bptt, config.seed, targets=targets
    )
    return TrainLoop(model, sampler, config, CPU, unk_id)
