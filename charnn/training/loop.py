"""The training loop: truncated backpropagation through time with carried, detached state.

A step reads one batch, runs it from the carried state, follows the gradient, and detaches the
state, so that no gradient reaches further back than `bptt` tokens (Williams and Peng, 1990).
Whoever consumes the events may save, stop or paint between two of them: at every `yield` the
`TrainLoop` is whole.
"""

import contextlib
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from charnn.config import TrainConfig
from charnn.data.samplers import Batch, Sampler
from charnn.errors import DivergedError
from charnn.evaluation.metrics import Score, mask_unknown
from charnn.model.device import Arithmetic
from charnn.model.language_model import LanguageModel, detach, reset_rows
from charnn.model.layers import State
from charnn.model.loss import mean_nats, sampled_nats
from charnn.training.events import Evaluation, Step
from charnn.training.optimizers import build_optimizers, lr_factor, set_lr
from charnn.training.time_budget import Pace, plan_holds
from charnn.training.weight_average import WeightAverage

AVERAGE_FROM = 0.5  # share of the steps after which the weights are averaged
AVERAGE_OVER = 0.1  # share of the steps that the average looks back over
LATEST = 0.3  # weight of the latest validation in what one takes: it may have been disturbed
MOST_CLOSING = 0.5  # share of a budget in minutes that the scoring at its end may take
MAX_SKIPPED = 20  # overflowing float16 steps in a row before that counts as divergence
Validate = Callable[[LanguageModel], Score]


class TrainLoop:
    """A network in training, and everything that decides how it goes on.

    What a checkpoint must hold is exactly what is here: weights, optimizer, position in the data,
    hidden state of every stream, counters. `unk_id` as a target is not learnt.
    """

    def __init__(
        self,
        model: LanguageModel,
        sampler: Sampler,
        config: TrainConfig,
        arithmetic: Arithmetic,
        unk_id: int | None = None,
    ) -> None:
        self.model = model
        self.sampler = sampler
        self.config = config
        self.arithmetic = arithmetic
        self.unk_id = unk_id
        self.optimizers = build_optimizers(model, config)
        self.scaler = torch.amp.GradScaler(
            arithmetic.device.type, enabled=arithmetic.precision == "float16"
        )
        self.hidden: State | None = None
        self.steps = planned_steps(config, sampler)  # None until a time budget is calibrated
        self.budget_seconds = 60 * (config.minutes or math.inf)
        self.validation_share = 1.0  # of the validation split, read at each validation
        self.validation_seconds = 0.0  # that one takes, for one set of weights
        self.step = 0
        self.tokens = 0
        self.seconds = 0.0
        self.skipped = 0
        self.loss_sum, self.loss_count = 0.0, 0  # since `take_mean_loss`
        self.best_loss = math.inf
        self.best_step = 0
        self.evaluated_at = 0
        self.evaluations_since_best = 0
        self.lr_scale = 1.0  # halved at each roll-back from a divergence
        self.average = WeightAverage()
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    @property
    def epoch(self) -> float:
        """Passes over the training split so far."""
        position = self.sampler.position
        return position.epoch + position.batch / self.sampler.batches_in(position.epoch)

    def update(self) -> tuple[float, float, float]:
        """One step of truncated BPTT: (loss in nats per token, gradient norm, learning rate).

        Raises DivergedError, before the weights are touched, when the loss or the norm of the
        gradient is not finite.
        """
        batch = self.sampler.next_batch()
        factor = self.lr_scale * lr_factor(self.step, self.steps, self.config)
        set_lr(self.optimizers, factor)
        loss, penalty, hidden = self._loss(batch)
        self.model.zero_grad()
        self.scaler.scale(loss + penalty).backward()  # type: ignore[no-untyped-call]  # torch's
        norm = self._apply(float(loss.detach()))
        self.hidden = detach(hidden)
        self.step += 1
        if self.config.average and self.steps and self.step >= AVERAGE_FROM * self.steps:
            self.average.update(self.model.named_tensors(), int(AVERAGE_OVER * self.steps))
        self.tokens += int(np.count_nonzero(batch.targets >= 0))
        if math.isfinite(float(loss.detach())):  # float16 may overflow; then the step was skipped
            self.loss_sum += float(loss.detach())
            self.loss_count += 1
        return float(loss.detach()), norm, self.config.lr * factor

    def take_mean_loss(self) -> float:
        """The mean loss of the steps since this was last asked; NaN where there were none."""
        mean = self.loss_sum / self.loss_count if self.loss_count else math.nan
        self.loss_sum, self.loss_count = 0.0, 0
        return mean

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor, State]:
        device = self.arithmetic.device
        inputs = torch.from_numpy(batch.inputs).to(device, non_blocking=True)
        scored = mask_unknown(batch.targets, self.unk_id)
        targets = torch.from_numpy(scored).to(device, non_blocking=True)
        self.model.train()
        with self.arithmetic.autocast():
            dropped, outputs, hidden = self.model.hidden(inputs, self._state_before(batch))
            loss = self._nats(dropped, targets)
        return loss, self._penalty(dropped, outputs), hidden

    def _nats(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean nats of a batch: exact, or where the vocabulary is large, estimated."""
        samples = self.config.sampled_softmax
        if samples:
            return sampled_nats(outputs, self.model.output, targets, samples)
        return mean_nats(self.model.output(outputs), targets)

    def _penalty(self, dropped: Tensor, outputs: Tensor) -> Tensor:
        """Activation and temporal activation regularisation of (B, T, H), added to the loss.

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

    def _state_before(self, batch: Batch) -> State:
        rows = len(batch.fresh)
        if self.hidden is None or batch.fresh.all():
            return self.model.initial_state(rows)
        if batch.fresh.any():
            return reset_rows(self.hidden, torch.from_numpy(batch.fresh).to(self.model.device))
        return self.hidden

    def _apply(self, loss: float) -> float:
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        limit = self.config.grad_clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, limit))
        finite = math.isfinite(norm) and math.isfinite(loss)
        if finite:  # else none may move: what overflowed in one is in the norm that clips all
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
        self.scaler.update()
        self.skipped = 0 if finite else self.skipped + 1
        if not finite and not (self.scaler.is_enabled() and self.skipped < MAX_SKIPPED):
            raise DivergedError(
                f"training diverged at step {self.step + 1}: loss {loss}, gradient norm {norm}",
                "try a lower --lr or a lower --grad-clip",
            )
        return norm

    def evaluate(self, validate: Validate) -> Evaluation:
        """Validate without touching anything that training depends on."""
        with self.arithmetic.autocast():
            score, averaged = validate(self.model), False
            if self.average.updates:
                with self.kept_weights(averaged=True):
                    of_average = validate(self.model)
                if of_average.loss < score.loss:
                    score, averaged = of_average, True
        self.evaluated_at = self.step
        best = score.loss < self.best_loss
        self.evaluations_since_best = 0 if best else self.evaluations_since_best + 1
        if best:
            self.best_loss, self.best_step = score.loss, self.step
        return Evaluation(self.step, self.tokens, self.epoch, self.seconds, score, best, averaged)

    def kept_weights(self, *, averaged: bool) -> contextlib.AbstractContextManager[None]:
        """A context in which the model has the weights that a validation was about."""
        if averaged:
            return self.average.swapped_in(self.model.named_tensors())
        return contextlib.nullcontext()

    def closing_share(self, validations: float) -> float:
        """How much of a scoring at the end, as long as so many validations, its time allows."""
        wanted = validations * self.validation_seconds
        allowed = MOST_CLOSING * 60 * (self.config.minutes or math.inf)
        return min(1.0, allowed / wanted) if wanted else 1.0

    @property
    def is_over(self) -> bool:
        """Whether all planned steps are done, or patience has run out."""
        patience = self.config.patience
        if patience is not None and self.evaluations_since_best >= patience:
            return True
        return self.steps is not None and self.step >= self.steps


def train(
    training: TrainLoop, validate: Validate | None = None, final_evaluation: float = 1.0
) -> Iterator[Step | Evaluation]:
    """Train up to the planned number of steps, validating at intervals.

    With a budget in minutes the speed is measured first, then the steps are planned, and planned
    anew where the machine turns out faster or slower; `final_evaluation` is what is still to
    follow at the end, in units of one validation. Raises DivergedError; the weights are then
    those of the last good step.
    """
    pace = Pace(training.seconds)
    if validate and _evaluation_is_due(training, pace):  # the run was stopped just before it
        yield _evaluated(training, validate, pace)
    while not training.is_over:
        with pace.stepping():
            loss, norm, lr = training.update()
        training.seconds = pace.elapsed
        yield _stepped(training, loss, norm, lr, pace)
        first_plan = _calibrated(training, pace)
        if validate and (first_plan or _evaluation_is_due(training, pace)):
            yield _evaluated(training, validate, pace)
        if pace.calibrated or first_plan:
            _plan(training, pace, final_evaluation)
    if validate and training.evaluated_at != training.step:  # the plan may have ended here
        yield _evaluated(training, validate, pace)


def _stepped(training: TrainLoop, loss: float, norm: float, lr: float, pace: Pace) -> Step:
    tokens_per_step = training.tokens / training.step
    return Step(
        step=training.step,
        steps=training.steps,
        tokens=training.tokens,
        epoch=training.epoch,
        seconds=training.seconds,
        loss=loss,
        lr=lr,
        grad_norm=norm,
        tokens_per_second=tokens_per_step / pace.step_seconds,
    )


def _evaluated(training: TrainLoop, validate: Validate, pace: Pace) -> Evaluation:
    with pace.evaluating():
        evaluation = training.evaluate(validate)
    training.seconds = pace.elapsed
    seconds = pace.evaluation_seconds / (1 + bool(training.average.updates))
    before = training.validation_seconds or seconds
    training.validation_seconds = before + LATEST * (seconds - before)
    return evaluation


def _calibrated(training: TrainLoop, pace: Pace) -> bool:
    """Whether to plan a budget in minutes now; up to here the rate is that of a run without end."""
    if training.steps is not None:
        return False
    return pace.calibrated or pace.elapsed >= training.budget_seconds


def _plan(training: TrainLoop, pace: Pace, final_evaluation: float) -> None:
    """Set or correct the number of steps, where minutes are the budget."""
    if training.config.minutes is None or training.step == training.steps:
        return
    closing = final_evaluation * training.validation_seconds
    closing *= training.closing_share(final_evaluation)
    left = training.budget_seconds - pace.elapsed - closing
    rough = training.step + pace.steps_that_fit(left, 0)
    every = pace.evaluation_interval(rough, training.config.eval_every, timed=True)
    evaluations = (rough - training.step) // every
    steps = training.step + pace.steps_that_fit(left, evaluations)
    if training.steps is None or not plan_holds(training.steps, steps):
        training.steps = steps


def _evaluation_is_due(training: TrainLoop, pace: Pace) -> bool:
    if training.steps is None or training.evaluated_at == training.step:
        return False
    timed = training.config.minutes is not None
    every = pace.evaluation_interval(training.steps, training.config.eval_every, timed=timed)
    # Where the interval may move, no multiple of it may ever be met.
    due = training.step - training.evaluated_at >= every if timed else training.step % every == 0
    return due or training.step == training.steps


def planned_steps(config: TrainConfig, sampler: Sampler) -> int | None:
    """The steps that the configuration asks for; None where minutes decide."""
    if config.steps is not None or config.minutes is not None:
        return config.steps
    epochs = config.epochs or 1.0
    whole = int(epochs)
    steps = sum(sampler.batches_in(epoch) for epoch in range(whole))
    return max(1, steps + round((epochs - whole) * sampler.batches_in(whole)))
