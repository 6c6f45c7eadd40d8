"""Validation during training (on a part of the split) and after it (on the full split)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from charnn.data.dataset import Dataset
from charnn.data.records import record_bounds
from charnn.evaluation.baselines import evaluate_baselines
from charnn.evaluation.evaluate import WARM_UP, carried_scores, default_streams, record_scores
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model.device import Arithmetic, memory_explained
from charnn.model.language_model import LanguageModel
from charnn.training.time_budget import ValidationCost

# Measured in benchmarks/README.md, validation.py.
STREAMS = 32  # parallel streams during training; 64 take 25 to 50 % more time
SHORT_WARM_UP = 128  # warm-up tokens per stream; the error of the loss is then 0.001 nats
# Maximum tokens of the training split in the final evaluation: a standard error of 0.003 nats.
TRAIN_SCORED = 200_000
LESS_MEMORY = "use --no-average, a smaller --hidden-size, or a dataset with a smaller vocabulary"


class Validator:
    """Evaluation of a network on the splits of a dataset, in the precision of the training.

    Scores are yielded in parts, whose sum is the score.
    """

    def __init__(self, dataset: Dataset, arithmetic: Arithmetic) -> None:
        self._dataset, self._arithmetic = dataset, arithmetic
        lengths = TokenLengths.of(dataset.tokenizer)
        self._lengths = {
            name: replace(lengths, unknown=dataset.unknown_cost(name)) for name in dataset.splits
        }
        train = dataset.split("train")
        self._val = dataset.splits.get("val", train[:0])
        self._streams = max(1, min(STREAMS, len(self._val) // SHORT_WARM_UP))
        self._final_streams = default_streams(len(self._val))
        start = max(0, len(train) - min(len(self._val), TRAIN_SCORED))
        if dataset.records:
            bounds = record_bounds(train, dataset.start_token)
            start = int(bounds[min(int(np.searchsorted(bounds, start)), len(bounds) - 2)])
        self._train = train[start:]

    @property
    def has_val(self) -> bool:
        """Whether the dataset has a validation split with a token that can be scored."""
        unk_id = self._dataset.tokenizer.unk_id
        return len(self._val) > 0 and (unk_id is None or bool(np.any(self._val != unk_id)))

    @property
    def cost(self) -> ValidationCost:
        """Return the number of tokens that validations and the final evaluation read."""
        final = len(self._val) + len(self._train)
        if self._dataset.records:
            return ValidationCost(split=len(self._val), final=final)
        return ValidationCost(
            split=len(self._val),
            warm_up=self._streams * SHORT_WARM_UP,
            final=final + 2 * self._final_streams * WARM_UP,
        )

    def during(self, model: LanguageModel, fraction: float) -> Iterator[Score]:
        """Score a fraction of the validation split, distributed over the split."""
        return self._parts(model, "val", self._streams, SHORT_WARM_UP, fraction)

    def final_val(self, model: LanguageModel, fraction: float) -> Iterator[Score]:
        """Score the validation split after training."""
        return self._parts(model, "val", self._final_streams, WARM_UP, fraction)

    def final_train(self, model: LanguageModel, fraction: float) -> Iterator[Score]:
        """Score the end of the training split, for comparison with the validation split."""
        return self._parts(model, "train", self._final_streams, WARM_UP, fraction)

    def baselines(self) -> dict[str, float]:
        """Return the bits per character of the baselines on the validation text, by name."""
        return evaluate_baselines(
            self._dataset.split("train"),
            self._val,
            self._dataset.tokenizer.pieces,
            self._lengths["val"],
            self._dataset.start_token if self._dataset.records else None,
        )

    def _parts(
        self, model: LanguageModel, split: str, streams: int, warm_up: int, fraction: float
    ) -> Iterator[Score]:
        tokens = self._val if split == "val" else self._train
        if not len(tokens):
            return
        start_token = self._dataset.start_token
        lengths = self._lengths[split]
        if self._dataset.records:
            parts = record_scores(model, tokens, lengths, start_token, fraction)
        else:
            parts = carried_scores(model, tokens, lengths, start_token, streams, warm_up, fraction)
        while True:
            # autocast must not be active between two parts
            with memory_explained("in a validation", LESS_MEMORY), self._arithmetic.autocast():
                part = next(parts, None)
            if part is None:
                return
            yield part
