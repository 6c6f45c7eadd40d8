"""Validate during training on a part of the split, and after it on the whole."""

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property

from charnn.arrays import Ids
from charnn.data.dataset import Dataset
from charnn.evaluation.baselines import evaluate_baselines
from charnn.evaluation.evaluate import WARM_UP, default_streams, evaluate_carried
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model.device import Arithmetic
from charnn.model.language_model import LanguageModel

SHARE = 0.0075  # of the tokens trained on: what each of 20 validations may read
LEAST = 8192  # tokens
STREAMS = 32
SHORT_WARM_UP = 128  # tokens; enough to rank one model against an earlier one
TRAIN_SCORED = 200_000  # tokens of the training split at most that are scored at the end


class Validator:
    """Scores a network on a dataset, in the arithmetic that it is trained in.

    `check` is called before every pass through the network; what it raises ends the scoring.
    """

    def __init__(
        self, dataset: Dataset, arithmetic: Arithmetic, check: Callable[[], None] = lambda: None
    ) -> None:
        self.dataset, self.arithmetic, self.check = dataset, arithmetic, check
        train = dataset.split("train")
        self._val = dataset.splits.get("val", train[:0])
        self._streams = max(1, min(STREAMS, len(self._val) // SHORT_WARM_UP))
        self._train = train[max(0, len(train) - min(len(self._val), TRAIN_SCORED)) :]

    def share(self, planned: float) -> float:
        """The share of the validation split to read on the way to so many tokens of training."""
        return min(1.0, max(LEAST, SHARE * planned) / max(1, len(self._val)))

    def validations_at_end(self, share: float) -> float:
        """What the scoring at the end takes, in units of one validation that reads this share.

        By the tokens that are read, those that streams are warmed up on included.
        """
        streams = default_streams(len(self._val))
        at_end = len(self._val) + len(self._train) + 2 * streams * WARM_UP
        return at_end / (share * len(self._val) + self._streams * SHORT_WARM_UP)

    def on_the_way(self, model: LanguageModel, share: float) -> Score:
        """The score on so much of the validation split, taken from all over it."""
        return self._score(model, self._val, self._streams, SHORT_WARM_UP, share)

    def at_end(self, model: LanguageModel, share: float = 1.0) -> dict[str, Score]:
        """Scores on the validation split, and on the end of the training split for comparison."""
        streams = default_streams(len(self._val))
        return {
            "val": self._score(model, self._val, streams, WARM_UP, share),
            "train": self._score(model, self._train, streams, WARM_UP, share),
        }

    @cached_property
    def ladder(self) -> dict[str, float]:
        """Bits per character of the validation text without a network."""
        return evaluate_baselines(self.dataset.split("train"), self._val, self.dataset.tokenizer)

    def _score(
        self, model: LanguageModel, tokens: Ids, streams: int, warm_up: int, share: float
    ) -> Score:
        lengths, start_token = TokenLengths.of(self.dataset.tokenizer), self.dataset.start_token
        with self._listening(model), self.arithmetic.autocast():
            return evaluate_carried(model, tokens, lengths, start_token, streams, warm_up, share)

    @contextlib.contextmanager
    def _listening(self, model: LanguageModel) -> Iterator[None]:
        """Inside the block every pass through the model is preceded by `self.check`."""
        hook = model.register_forward_pre_hook(lambda *_: self.check())
        try:
            yield
        finally:
            hook.remove()
