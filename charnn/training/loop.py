"""The training loop: truncated backpropagation through time with carried, detached state.

A step reads a batch, runs it from the carried state, backpropagates, and detaches the state, so
that gradients propagate through at most `bptt` tokens (Williams and Peng, 1990). The loop yields
events. At every `yield` the `TrainLoop` is in a consistent state, so that the consumer can save,
display or stop.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from charnn.arrays import Ids, Integers
from charnn.config import TrainConfig
from charnn.data.samplers import SAMPLERS, Batch, Sampler
from charnn.errors import DivergedError
from charnn.evaluation.baselines import unigram
from charnn.evaluation.metrics import Score, mask_unknown
from charnn.model.device import Arithmetic
from charnn.model.language_model import Dropouts, LanguageModel, continued_state, detach
from charnn.model.layers import LayerState
from charnn.model.loss import mean_nats, sampled_nats
from charnn.training.counters import Counters
from charnn.training.events import Evaluation, Step, Validating
from charnn.training.optimizers import build_optimizers, lr_factor, set_lr
from charnn.training.time_budget import TimeBudget, ValidationCost, planned_steps
from charnn.training.weight_average import WeightAverage

# The gain of averaging is measured in benchmarks/README.md, recipe.py.
AVERAGE_FROM = 0.5  # fraction of the steps after which averaging starts
AVERAGE_OVER = 0.1  # horizon of the average as a fraction of the steps
# The scaler halves its scale at each overflow: from 2^16 it is below 1 after 17 of them.
MAX_SKIPPED = 20  # consecutive overflowing float16 steps that count as divergence
LOG_EVERY = 10  # steps between two logged training losses, as in nanoGPT

# A function that scores a network in parts, whose sum is the score of the validation.
Validate = Callable[[LanguageModel], Iterator[Score]]


class TrainLoop:
    """A network in training, with the complete training state.

    A checkpoint saves this state: weights, optimizer state, position in the data, hidden state of
    every stream, counters. Targets equal to `unk_id` are excluded from the loss.
    """

    def __init__(
        self,
        model: LanguageModel,
        sampler: Sampler,
        config: TrainConfig,
        arithmetic: Arithmetic,
        unk_id: int | None = None,
        cost: ValidationCost | None = None,
        planned_tokens: float = 0.0,
    ) -> None:
        self.model = model
        self.sampler = sampler
        self.config = config
        self.arithmetic = arithmetic
        self.unk_id = unk_id
        self.optimizers = build_optimizers(model, config, arithmetic)
        self.scaler = torch.amp.GradScaler(
            arithmetic.device.type, enabled=arithmetic.precision == "float16"
        )
        self.budget = TimeBudget(
            steps=planned_steps(config, sampler),
            minutes=config.minutes,
            eval_every=config.eval_every,
            cost=cost,
            planned_tokens=planned_tokens,
        )
        self.hidden: LayerState | None = None
        self.counters = Counters()
        self.average = WeightAverage()
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def change_regularization(self, config: TrainConfig) -> None:
        """Continue with other settings of regularization; the others must be the same."""
        self.config = config
        self.model.set_dropouts(_dropouts(config))

    @property
    def epoch(self) -> float:
        """Return the number of epochs so far, including a fraction."""
        position = self.sampler.position
        return position.epoch + position.batch / self.sampler.batches_in(position.epoch)

    def update(self) -> tuple[float, float, float]:
        """Perform one step of truncated BPTT.

        Return the loss in nats per token, the gradient norm before clipping, and the learning rate.
        Raise DivergedError, with the weights unchanged, if loss or gradient norm is not finite.
        """
        batch = self.sampler.next_batch()
        steps = self.budget.steps
        factor = self.counters.lr_scale * lr_factor(self.counters.step, steps, self.config)
        set_lr(self.optimizers, factor)
        loss, bias, penalty, hidden = self._loss(batch)
        self.model.zero_grad()
        weight = self._weight(batch)
        self.scaler.scale(weight * (loss + penalty)).backward()  # type: ignore[no-untyped-call]  # torch's
        nats, norm = self._apply(loss.detach() + bias)
        self.hidden = detach(hidden) if self.sampler.carries_state else None
        self.counters.count_step(nats, int(np.count_nonzero(batch.targets >= 0)))
        if self._is_averaging:
            assert steps
            self.average.update(self.model.named_tensors(), int(AVERAGE_OVER * steps))
        elif self.average.updates:  # the plan became longer
            self.average = WeightAverage()
        return nats, norm, self.config.lr * factor

    def _weight(self, batch: Batch) -> float:
        """Return the size of a batch as a fraction of a full one.

        So that a token of a short window is not learned more than others, as in Merity, Keskar and
        Socher, 2018, who scale the learning rate by the length of the window.
        """
        full = self.config.batch_size * self.config.bptt
        return batch.inputs.size / full

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, LayerState]:
        """Return loss and its bias (see `sampled_nats`), penalty, and the hidden state after."""
        inputs, targets = self._on_device(batch.inputs, mask_unknown(batch.targets, self.unk_id))
        self.model.train()
        with self.arithmetic.autocast():
            state = continued_state(self.model, self.hidden, batch.fresh)
            dropped, outputs, hidden = self.model.hidden(inputs, state)
            loss, bias = self._nats(dropped, targets)
        return loss, bias, self._penalty(dropped, outputs), hidden

    def _on_device(self, *ids: Integers) -> Tensor:
        """Return arrays of one shape as a tensor on the device, in one transfer."""
        both = torch.from_numpy(np.stack(ids))
        if self.arithmetic.device.type == "cuda":  # without a wait for earlier work of the GPU
            return both.pin_memory().to(self.arithmetic.device, non_blocking=True)
        return both.to(self.arithmetic.device)

    def _nats(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch in nats, exact or estimated, and the bias of it."""
        samples = self.config.sampled_softmax
        if samples:
            return sampled_nats(outputs, self.model.output, targets, samples)
        return mean_nats(self.model.output(outputs), targets), outputs.new_zeros(())

    def _penalty(self, dropped: Tensor, outputs: Tensor) -> Tensor:
        """Return activation and temporal activation regularization of outputs (B, T, H).

        Merity, McCann and Socher, "Revisiting activation regularization for language RNNs", 2017.
        """
        penalty = torch.zeros((), device=dropped.device)
        if self.config.activation_reg:
            penalty = penalty + self.config.activation_reg * dropped.float().square().mean()
        if self.config.temporal_reg and outputs.shape[1] > 1:
            outputs = outputs.float()
            changes = outputs[:, 1:] - outputs[:, :-1]
            penalty = penalty + self.config.temporal_reg * changes.square().mean()
        return penalty

    def _apply(self, mean_nats: Tensor) -> tuple[float, float]:
        """Clip the gradient and apply it unless it overflowed. Return the loss and its norm."""
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        limit = self.config.grad_clip or math.inf
        gradient_norm = torch.nn.utils.clip_grad_norm_(self._parameters, limit)
        loss, norm = torch.stack([mean_nats, gradient_norm]).tolist()  # one wait for the device
        finite = math.isfinite(norm) and math.isfinite(loss)
        if finite:  # the norm is over all weights, so no optimizer has an overflow
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
        self.scaler.update()
        self.counters.skipped = 0 if finite else self.counters.skipped + 1
        if not finite and not (self.scaler.is_enabled() and self.counters.skipped < MAX_SKIPPED):
            raise DivergedError(
                f"training diverged at step {self.counters.step + 1}: loss {loss}, "
                f"gradient norm {norm}",
                "use a lower --lr or a lower --grad-clip",
            )
        return loss, norm

    def evaluate(self, validate: Validate) -> Iterator[Validating | Evaluation]:
        """Validate the weights and their average, if any. The lower loss is the result.

        Yield a `Validating` after each part, and the `Evaluation` at the end.
        """
        networks = [self.model]
        if self.has_average:
            networks.append(self.average.network(self.model))
        scores: list[Score] = []
        with self.budget.evaluating(len(networks)):
            for network in networks:
                scores.append(Score())
                for part in validate(network):
                    scores[-1] += part
                    yield Validating(self.counters.step, sum(score.tokens for score in scores))
        self.counters.seconds = self.budget.elapsed
        averaged = len(scores) > 1 and scores[1].loss < scores[0].loss
        score = scores[averaged]
        best = self.counters.count_evaluation(score.loss)
        yield Evaluation(
            step=self.counters.step,
            tokens=self.counters.tokens,
            epoch=self.epoch,
            seconds=self.counters.seconds,
            score=score,
            best=best,
            averaged=averaged,
            fraction=self.budget.fraction,
        )

    @property
    def _is_averaging(self) -> bool:
        steps = self.budget.steps
        return bool(self.config.average and steps and self.counters.step >= AVERAGE_FROM * steps)

    @property
    def has_average(self) -> bool:
        """Return whether there is an average of the weights up to this step.

        A run that was resumed with more steps, or without averaging, may have a stale one.
        """
        return self._is_averaging and self.average.updates > 0

    def weights(self, *, averaged: bool = False) -> Mapping[str, Tensor]:
        """Return the weights, or their average, by their names in a model file."""
        return self.average.tensors if averaged else self.model.named_tensors()

    @property
    def evaluation_is_due(self) -> bool:
        """Return whether to validate now."""
        return self.budget.evaluation_is_due(self.counters.step, self.counters.evaluated_at)

    @property
    def is_over(self) -> bool:
        """Return whether all planned steps are done or early stopping applies."""
        patience, counters = self.config.patience, self.counters
        if patience is not None and counters.evaluations_since_best >= patience:
            return True
        return self.budget.steps is not None and counters.step >= self.budget.steps


def new_loop(
    config: TrainConfig,
    tokens: Ids,
    counts: Integers,
    arithmetic: Arithmetic,
    *,
    start_token: int = 0,
    targets: Ids | None = None,
    unk_id: int | None = None,
    cost: ValidationCost | None = None,
    planned_tokens: float = 0.0,
) -> TrainLoop:
    """Return a new training with random initial weights from the seed.

    The output bias is initialized with the log frequencies of `counts` (V,), the number of times
    that each token is a target. `start_token` ends each record, if the tokens are records.
    `targets` (N,) are predicted instead of the tokens. `cost` and
    `planned_tokens` are for the time budget.
    """
    torch.manual_seed(config.seed)
    model = LanguageModel(config.shape(len(counts)), _dropouts(config))
    model.init_output_bias(unigram(counts))
    model = model.to(arithmetic.device)
    sampler = SAMPLERS[config.sampler].from_config(config, tokens, targets, start_token=start_token)
    return TrainLoop(model, sampler, config, arithmetic, unk_id, cost, planned_tokens)


def _dropouts(config: TrainConfig) -> Dropouts:
    return Dropouts(
        config.dropout, config.input_dropout, config.embedding_dropout, config.weight_dropout
    )


def train(
    loop: TrainLoop, validate: Validate | None = None
) -> Iterator[Step | Validating | Evaluation]:
    """Train for the planned number of steps and validate at intervals.

    Raise DivergedError if training diverges; the weights are then those before the failed step.
    """
    budget = loop.budget
    budget.start(loop.counters.seconds)
    if validate and loop.evaluation_is_due:  # the run stopped before this validation
        yield from loop.evaluate(validate)
    while not loop.is_over:
        with budget.stepping():
            loss, norm, lr = loop.update()
        loop.counters.seconds = budget.elapsed
        yield _step_event(loop, loss, norm, lr)
        if validate and (budget.must_plan or loop.evaluation_is_due):
            yield from loop.evaluate(validate)
        budget.plan(loop.counters.step)
    if validate and loop.counters.evaluated_at != loop.counters.step:  # the plan became shorter
        yield from loop.evaluate(validate)


def _step_event(loop: TrainLoop, loss: float, norm: float, lr: float) -> Step:
    counters, steps = loop.counters, loop.budget.steps
    is_logged = counters.step % LOG_EVERY == 0 or counters.step == steps
    return Step(
        step=counters.step,
        steps=steps,
        tokens=counters.tokens,
        epoch=loop.epoch,
        seconds=counters.seconds,
        loss=loss,
        lr=lr,
        grad_norm=norm,
        tokens_per_second=counters.tokens / counters.step / loop.budget.step_seconds,
        mean_loss=counters.take_mean_loss() if is_logged else None,
        estimated=loop.config.sampled_softmax > 0,
    )
