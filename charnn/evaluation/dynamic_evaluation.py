"""Dynamic evaluation: update the weights on each segment after scoring it.

Krause, Kahembwe, Murray and Renals, "Dynamic evaluation of neural sequence models", 2018, the RMS
rule with decay to the trained weights: each segment is scored first, then learnt from, so nothing
is known in advance.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from charnn.arrays import Doubles, Ids
from charnn.data.samplers import SequentialSampler
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model.language_model import LanguageModel, detach
from charnn.model.loss import mean_nats

EPSILON = 1e-5  # keeps weights that hardly ever had a gradient from running away
STATISTICS_BATCH, STATISTICS_BATCHES = 64, 64  # of the training text, for the size of gradients
TUNED_ON = 20_000  # tokens of the validation text that the rates are tuned on
LRS = (3e-5, 6e-5, 1e-4)
DECAYS = (3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class Rates:
    """How fast the weights follow the text, how fast they return, and how often they move.

    `lr` is the step in units of a gradient of typical size; `decay` the share of the way back to
    the trained weights at each step, for a weight of average gradient; `segment` is in tokens.
    """

    lr: float = 6e-5
    decay: float = 1e-3
    segment: int = 32


def gradient_sizes(
    model: LanguageModel, train: Ids, unk_id: int | None, segment: int
) -> dict[str, Tensor]:
    """Root mean square of each weight's gradient over batches of the training text."""
    model = _learning(model)
    rows = max(1, min(STATISTICS_BATCH, (len(train) - 1) // segment))
    sampler = SequentialSampler(train, rows, segment)
    weights = model.named_tensors()
    squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    state = model.initial_state(rows)
    batches = min(STATISTICS_BATCHES, sampler.batches_in(0))
    for _ in range(batches):
        batch = sampler.next_batch()
        logits, state = model(_on(model, batch.inputs), detach(state))
        loss = mean_nats(logits, _on(model, batch.targets), unk_id)
        gradients = torch.autograd.grad(loss, list(weights.values()))
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
) -> Score:
    """Score of all N tokens in one carried pass, the weights following the text.

    `model` itself is left as it is.
    """
    reader = LearningReader(model, sizes, lengths.unk_id, rates)
    targets = np.asarray(tokens, np.int64)
    inputs = np.concatenate([[start_token], targets[:-1]])
    return lengths.score(-reader.log_probs(inputs, targets), targets)


class LearningReader:
    """Reads a text with carried state, a segment at a time, and learns from each once it is scored.

    The weights are a copy; they go on learning from text to text, `restart` or not.
    """

    def __init__(
        self, model: LanguageModel, sizes: dict[str, Tensor], unk_id: int | None, rates: Rates
    ) -> None:
        self.model, self.unk_id, self.segment = _learning(model), unk_id, rates.segment
        self.follow = follower(self.model, sizes, rates)
        self.restart()

    def restart(self) -> None:
        """Forget the state, not what has been learnt."""
        self.state = self.model.initial_state(1)

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Read (T,) ids; ln p of each one's target as the next token, (T,)."""
        result = np.empty(len(ids))
        for start in range(0, len(ids), self.segment):
            part = slice(start, start + self.segment)
            logits, self.state = self.model(_on(self.model, ids[None, part]), detach(self.state))
            answers = _on(self.model, targets[part])
            log_probs = logits[0].detach().double().log_softmax(-1)
            result[part] = log_probs.gather(-1, answers[:, None])[:, 0].cpu().numpy()
            self.follow(logits, answers, self.unk_id)
        return result


def follower(
    model: LanguageModel, sizes: dict[str, Tensor], rates: Rates
) -> Callable[[Tensor, Tensor, int | None], None]:
    """A function that moves the weights of `model` after logits (1, T, V) and targets (T,)."""
    weights = list(model.named_tensors().values())
    trained = [weight.detach().clone() for weight in weights]
    average = sum(float(size.sum()) for size in sizes.values()) / sum(
        size.numel() for size in sizes.values()
    )
    average = max(average, EPSILON)  # where there is but one symbol, no gradient ever is
    steps = [rates.lr / (size + EPSILON) for size in sizes.values()]
    returns = [(rates.decay * size / average).clamp(max=1.0) for size in sizes.values()]

    def follow(logits: Tensor, targets: Tensor, unk_id: int | None) -> None:
        loss = mean_nats(logits, targets[None], unk_id)
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, home, gradient, step, back in zip(
                weights, trained, gradients, steps, returns, strict=True
            ):
                weight.addcmul_(gradient, step, value=-1)
                weight.lerp_(home, back)

    return follow


def tune(evaluate: Callable[[Rates], Score], segment: int = Rates.segment) -> Rates:
    """The rates, of a small grid, with the lowest loss."""
    grid = [Rates(lr, decay, segment) for lr, decay in itertools.product(LRS, DECAYS)]
    return min(grid, key=lambda rates: evaluate(rates).loss)


def _learning(model: LanguageModel) -> LanguageModel:
    """A copy that can learn: cuDNN computes gradients in training mode alone.

    Nothing is dropped all the same, in a model that was read from a file.
    """
    return copy.deepcopy(model).train()


def _on(model: LanguageModel, ids: Ids) -> Tensor:
    return torch.from_numpy(ids.astype(np.int64)).to(model.device)
