"""Dynamic evaluation: update the weights on each segment after scoring it.

Krause, Kahembwe, Murray and Renals, "Dynamic evaluation of neural sequence models", 2018: the RMS
rule with decay to the trained weights. Each segment is scored before the weights are updated.

Shapes: B rows, T time, V vocab_size, N tokens of a text.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from charnn.arrays import Doubles, Ids
from charnn.data.records import record_bounds
from charnn.data.samplers import RecordSampler, Sampler, SequentialSampler
from charnn.evaluation.metrics import Score, TokenLengths, mask_unknown
from charnn.model.language_model import LanguageModel, continued_state, detach, with_weights
from charnn.model.layers import LayerState
from charnn.model.loss import positions_at_once, token_nats
from charnn.model.model_file import ModelFile

EPSILON = 1e-5  # added to gradient sizes: bounds the step of a weight that had hardly any gradient
STATISTICS_BATCH, STATISTICS_BATCHES = 64, 64  # rows, batches of training text for gradient sizes
# Tokens of the validation text that the rates are tuned on. In benchmarks/README.md, recipe.py,
# 16,000 were enough to tell the rates of the grid apart.
TUNED_ON, MAX_TUNED = 20_000, 0.2  # and at most this fraction of it
# The grid of `tune` is around the rates measured in benchmarks/README.md, recipe.py.
LRS = (3e-5, 6e-5, 1e-4)
DECAYS = (3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class Rates:
    """Learning rate, decay and segment length of dynamic evaluation.

    `lr` multiplies the gradient divided by its root mean square. `decay` is the fraction of the
    distance to the trained weights that each step removes, for a weight with an average gradient.
    `segment` is in tokens. The defaults were measured in benchmarks/README.md, recipe.py.
    """

    lr: float = 6e-5
    decay: float = 1e-3
    segment: int = 32


def gradient_sizes(
    model: LanguageModel,
    train: Ids,
    unk_id: int | None,
    segment: int,
    record_end: int | None = None,
) -> dict[str, Tensor]:
    """Return the root mean square of the gradient of each weight over batches of training text.

    If the text has records, `record_end` is the token that ends each.
    """
    model = _trainable_copy(model)
    rows = max(1, min(STATISTICS_BATCH, (len(train) - 1) // segment))
    sampler: Sampler = (
        SequentialSampler(train, rows, segment)
        if record_end is None
        else RecordSampler(train, rows, segment, start_token=record_end)
    )
    weights = model.named_tensors()
    squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    # Some rows at a time: the logits of all of them need not fit into memory.
    at_once = positions_at_once(segment, model.config.vocab_size)
    state: LayerState | None = None
    batches = min(STATISTICS_BATCHES, sampler.batches_in(0))
    for _ in range(batches):
        batch = sampler.next_batch()
        targets = mask_unknown(batch.targets, unk_id)
        scored = max(1, int(np.count_nonzero(targets >= 0)))
        before = detach(continued_state(model, state, batch.fresh))
        gradients = [torch.zeros_like(weight) for weight in weights.values()]
        after = []
        for first in range(0, len(targets), at_once):
            some = slice(first, first + at_once)
            inputs = _tensor(model, batch.inputs[some])
            logits, last = model(inputs, tuple(part[some] for part in before))
            loss = token_nats(logits, _tensor(model, targets[some])).sum() / scored
            parts = torch.autograd.grad(loss, list(weights.values()))
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.add_(part)
            after.append(detach(last))
        state = tuple(torch.cat(parts) for parts in zip(*after, strict=True))
        for square, gradient in zip(squares.values(), gradients, strict=True):
            square.addcmul_(gradient, gradient, value=1 / batches)
    return {name: square.sqrt_() for name, square in squares.items()}


def evaluate_dynamic(
    model: LanguageModel,
    tokens: Ids,
    lengths: TokenLengths,
    start_token: int,
    sizes: dict[str, Tensor],
    rates: Rates,
    *,
    records: bool = False,
) -> Score:
    """Return the score of all N tokens, in one pass with carried state and updated weights.

    With `records`, the state is reset at each record, and the weights are not. The updated weights
    are a copy; `model` is not changed.
    """
    reader = LearningReader(model, sizes, rates)
    ids = np.asarray(tokens, np.int64)
    inputs = np.concatenate([[start_token], ids])[:-1]
    targets = mask_unknown(ids, lengths.unk_id)
    bounds = record_bounds(ids, start_token).tolist() if records else [0, len(ids)]
    nats = np.empty(len(ids))
    for start, end in itertools.pairwise(bounds):
        reader.restart()
        nats[start:end] = -reader.log_probs(inputs[start:end], targets[start:end])
    return lengths.score(nats, ids)


def learning_reader(model_file: ModelFile, train: Ids) -> "LearningReader":
    """Return a reader with the weights of a model file and the default rates.

    `train` is the text that the model was trained on, as ids, (N,).
    """
    model, rates = with_weights(model_file), Rates()
    record_end = model_file.start_token if model_file.records else None
    unk_id = model_file.tokenizer.unk_id
    sizes = gradient_sizes(model, train, unk_id, rates.segment, record_end)
    return LearningReader(model, sizes, rates)


class LearningReader:
    """A reader with carried state that updates its weights on each segment after scoring it.

    The weights are a copy. `restart` does not reset them, so they adapt to all texts read so far.
    """

    def __init__(self, model: LanguageModel, sizes: dict[str, Tensor], rates: Rates) -> None:
        self.model, self.segment = _trainable_copy(model), rates.segment
        self.update = _updater(self.model, sizes, rates)
        self.restart()

    def restart(self) -> None:
        """Reset the hidden state, not the weights."""
        self.state = self.model.initial_state(1)

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Read (T,) ids and return ln p of the target after each, (T,).

        A negative target is neither scored nor learned from: its result is NaN.
        """
        result = np.empty(len(ids))
        for start in range(0, len(ids), self.segment):
            part = slice(start, start + self.segment)
            segment_targets = _tensor(self.model, targets[None, part])
            inputs = _tensor(self.model, ids[None, part])
            logits, self.state = self.model(inputs, detach(self.state))
            nats = token_nats(logits, segment_targets)
            result[part] = -nats[0].detach().double().cpu().numpy()
            scored = max(1, int(np.count_nonzero(targets[part] >= 0)))
            self.update(nats.sum() / scored)
        return np.where(targets < 0, np.nan, result)


def _updater(
    model: LanguageModel, sizes: dict[str, Tensor], rates: Rates
) -> Callable[[Tensor], None]:
    """Return a function that updates the weights from the mean nats of a segment."""
    weights = list(model.named_tensors().values())
    trained = [weight.detach().clone() for weight in weights]
    average = sum(float(size.sum()) for size in sizes.values()) / sum(
        size.numel() for size in sizes.values()
    )
    average = max(average, EPSILON)  # all gradients are zero if the vocabulary is one symbol
    steps = [rates.lr / (size + EPSILON) for size in sizes.values()]
    decays = [(rates.decay * size / average).clamp(max=1.0) for size in sizes.values()]

    def update(loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, start, gradient, step, decay in zip(
                weights, trained, gradients, steps, decays, strict=True
            ):
                weight.addcmul_(gradient, step, value=-1)
                weight.lerp_(start, decay)

    return update


def tuning_tokens(val: Ids, record_end: int | None = None) -> int:
    """Return the number of tokens at the start of a validation text (N,) to tune the rates on.

    The text after them is for evaluation. The part has whole records if `record_end` ends them.
    """
    tokens = min(TUNED_ON, int(MAX_TUNED * len(val)))
    if record_end is None:
        return tokens
    bounds = record_bounds(val, record_end)
    return int(bounds[np.searchsorted(bounds, tokens, "right") - 1])


def tune(evaluate: Callable[[Rates], Score]) -> Rates:
    """Return the rates with the lowest loss by grid search over LRS and DECAYS."""
    grid = [Rates(lr, decay) for lr, decay in itertools.product(LRS, DECAYS)]
    return min(grid, key=lambda rates: evaluate(rates).loss)


def _trainable_copy(model: LanguageModel) -> LanguageModel:
    """Return a copy in training mode, which cuDNN requires to compute gradients.

    Models read from files have no dropout, so the mode does not affect results.
    """
    return copy.deepcopy(model).train()


def _tensor(model: LanguageModel, ids: Ids) -> Tensor:
    return torch.from_numpy(ids.astype(np.int64)).to(model.device)
