"""Small networks and a text for the experiments, trained by the ordinary loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from charnn.arrays import Ids
from charnn.config import TrainConfig, validate
from charnn.data.corpora import Catalogue
from charnn.data.splits import split_text
from charnn.evaluation.metrics import TokenLengths
from charnn.model.device import Arithmetic
from charnn.tokenizers.char import CharTokenizer
from charnn.training.loop import TrainLoop, new_loop

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
    characters = CharTokenizer.build(parts["train"])
    train, val = (characters.encode(parts[split]).ids for split in ("train", "val"))
    assert characters.newline_id is not None
    lengths = TokenLengths.of(characters)
    return Book(train, val, characters.vocab_size, characters.newline_id, lengths)


def new_small_loop(
    settings: Mapping[str, Any],
    vocab_size: int,
    tokens: Ids,
    *,
    targets: Ids | None = None,
    unk_id: int | None = None,
) -> TrainLoop:
    """Return a training loop before its first step, as `charnn train` would make it.

    `settings` are fields of `TrainConfig`; `targets` are predicted instead of the tokens.
    """
    config = validate(TrainConfig, settings)
    predicted = tokens if targets is None else targets[targets >= 0]
    counts = np.bincount(predicted, minlength=vocab_size)
    if unk_id is not None:
        counts[unk_id] = 0
    return new_loop(config, tokens, counts, CPU, targets=targets, unk_id=unk_id)
