"""The training loop: steps of truncated BPTT, time budget, convergence."""

import functools
import math

import numpy as np
import pytest
import torch

from charnn.config import TrainConfig
from charnn.data.samplers import RandomSampler, SequentialSampler
from charnn.errors import DivergedError
from charnn.evaluation.evaluate import carried_scores, evaluate_carried
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model.device import Arithmetic
from charnn.model.loss import mean_nats
from charnn.training.events import Evaluation, Step
from charnn.training.loop import TrainLoop, train
from charnn.training.time_budget import (
    STARTUP_RESERVE,
    TimeBudget,
    ValidationCost,
    planned_steps,
)

CPU = Arithmetic(torch.device("cpu"), "float32")
LENGTHS = TokenLengths(np.ones(11, np.int64), np.ones(11, np.int64), None)


def start(model, ids, *, sampler=SequentialSampler, batch_size=4, bptt=8, **settings):
    settings = {"lr": 1e-2, "warmup_steps": 5, "grad_clip": 1.0, **settings}
    if not {"epochs", "steps", "minutes"} & settings.keys():
        settings["steps"] = 20
    config = TrainConfig(batch_size=batch_size, bptt=bptt, **settings)
    return TrainLoop(model, sampler(ids, batch_size, bptt, 1), config, CPU)


def scores(score):
    """Return a validation function that yields this score in one part."""
    return lambda _: iter([score])


def test_a_stale_average_is_neither_scored_nor_continued(make_model, ids) -> None:
    """A finished run that is resumed with more steps has a new average in the second half."""
    loop = start(make_model(), ids, steps=20, average=True, eval_every=10)
    for _ in train(loop, scores(Score(nats=1.0, tokens=1))):
        pass
    assert loop.average.updates == 11
    loop.budget.steps = 100
    assert not loop.has_average
    validated = []

    def validate(model):
        validated.append((loop.counters.step, model is loop.model))
        yield Score(nats=1.0, tokens=1)

    for _ in train(loop, validate):
        pass
    assert [step for step, own in validated if not own] == [50, 60, 70, 80, 90, 100]
    assert loop.average.updates == 51


def test_an_average_is_not_used_if_averaging_is_switched_off(make_model, ids) -> None:
    """For instance on resuming with --no-average."""
    loop = start(make_model(), ids, steps=20, average=True)
    losses_of(loop)
    assert loop.has_average
    loop.config = loop.config.model_copy(update={"average": False})

    assert not loop.has_average


def losses_of(training):
    return [event.loss for event in train(training) if isinstance(event, Step)]


def test_step_is_truncated_bptt(make_model, ids) -> None:
    """Two SGD steps equal manual ones: state carried, gradient cut between windows."""
    training = start(
        make_model(), ids, optimizer="sgd", weight_decay=0, grad_clip=0, warmup_steps=0
    )
    by_hand = make_model()
    state, sampler = by_hand.initial_state(4), SequentialSampler(ids, 4, 8)
    for event in train(training):
        if event.step == 2:
            break
    for step in range(2):
        batch = sampler.next_batch()
        logits, state = by_hand(torch.from_numpy(batch.inputs), state)
        loss = mean_nats(logits, torch.from_numpy(batch.targets))
        by_hand.zero_grad()
        loss.backward()
        lr = 1e-2 * (0.02 + 0.98 * (1 + math.cos(math.pi * step / 20)) / 2)
        with torch.no_grad():
            for weight in by_hand.parameters():
                if weight.grad is not None:
                    weight.sub_(weight.grad, alpha=lr)
        state = tuple(part.detach() for part in state)

    for name, tensor in training.model.named_tensors().items():
        torch.testing.assert_close(tensor, by_hand.named_tensors()[name], rtol=0, atol=1e-6)


def test_state_is_carried_and_detached(make_model, ids) -> None:
    """After a step the state is that of the text so far, without a graph."""
    training = start(make_model(), ids)
    next(train(training))

    assert training.hidden is not None
    assert not any(part.requires_grad for part in training.hidden)
    assert any(part.any() for part in training.hidden)


def test_random_sampler_starts_from_zero(make_model, ids) -> None:
    """The hidden state of a batch is not carried to the next."""
    training = start(make_model(), ids, sampler=RandomSampler)
    training.update()
    batch = training.sampler.next_batch()

    assert batch.fresh.all()


def test_gradients_are_clipped_to_the_global_norm(make_model, ids) -> None:
    """An SGD step moves the weights by at most lr times the limit; the logged norm is unclipped."""
    training = start(
        make_model(), ids, optimizer="sgd", grad_clip=1e-3, weight_decay=0, warmup_steps=0
    )
    before = [t.detach().clone() for t in training.model.named_tensors().values()]
    event = next(train(training))
    after = [t.detach() for t in training.model.named_tensors().values()]
    moved = math.sqrt(
        sum(float((a - b).square().sum()) for a, b in zip(after, before, strict=True))
    )

    assert isinstance(event, Step)
    assert event.grad_norm > 1e-3
    assert moved <= 1e-2 * 1e-3 * 1.01


def test_validation_does_not_change_training(make_model, ids) -> None:
    """Losses are bit-identical with validation at every step and without."""
    validated = start(make_model(between=0.3), ids, eval_every=1)
    plain = start(make_model(between=0.3), ids, eval_every=1000)

    def validate(model):
        return carried_scores(model, ids[:200], LENGTHS, 0)

    torch.manual_seed(3)
    with_validation = [e.loss for e in train(validated, validate) if isinstance(e, Step)]
    torch.manual_seed(3)
    assert with_validation == losses_of(plain)


def test_best_marks_the_lowest_loss_so_far(make_model, ids) -> None:
    """`best` is true only if the loss is lower than all earlier ones."""
    values = iter([3.0, 2.0, 2.5, 1.0, math.nan])
    training = start(make_model(), ids, steps=5, eval_every=1)
    events = train(training, lambda _: iter([Score(nats=next(values), tokens=1)]))
    best = [event.best for event in events if isinstance(event, Evaluation)]

    assert best == [True, True, False, True, False]
    assert training.counters.best_step == 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_gradient_leaves_the_weights_unchanged(make_model, ids, value) -> None:
    """DivergedError is raised before the optimizer step."""
    training = start(make_model(), ids)
    training.update()
    good = [t.detach().clone() for t in training.model.named_tensors().values()]
    training.model.output.bias.register_hook(lambda grad: grad * value)

    with pytest.raises(DivergedError, match="step 2"):
        training.update()
    assert all(
        torch.equal(a, b)
        for a, b in zip(good, training.model.named_tensors().values(), strict=True)
    )


def test_unk_targets_are_excluded_from_the_loss(make_model, ids) -> None:
    """Training with id 3 as <unk> equals training with negative targets there."""
    training = start(make_model(), ids)
    training.unk_id = 3
    masked = start(make_model(), ids)
    targets = np.where(ids == 3, -1, ids.astype(int))
    masked.sampler = SequentialSampler(ids, 4, 8, 1, targets=targets)

    assert losses_of(training) == losses_of(masked)
    assert training.counters.tokens > masked.counters.tokens


def test_a_token_of_a_short_window_is_not_learned_more_than_others(make_model, ids) -> None:
    """The gradient of a window of two tokens is a quarter of that of their mean loss."""
    loop = start(make_model(), ids, optimizer="sgd", lr=1.0, grad_clip=0, warmup_steps=0)
    loop.sampler = SequentialSampler(ids[: 4 * 2 + 1], 4, 8, 1)
    before = loop.model.output.bias.detach().clone()
    batch = SequentialSampler(ids[: 4 * 2 + 1], 4, 8, 1).next_batch()
    logits, _ = loop.model(torch.tensor(batch.inputs), loop.model.initial_state(4))
    expected = torch.autograd.grad(
        mean_nats(logits, torch.tensor(batch.targets)), loop.model.output.bias
    )[0]
    _, _, lr = loop.update()

    torch.testing.assert_close(before - loop.model.output.bias, lr * expected * 2 / 8)


def test_epochs_become_steps(make_model, ids) -> None:
    """Two and a half epochs end in the middle of the third."""
    sampler = SequentialSampler(ids, 4, 8)
    config = TrainConfig(epochs=2.5, batch_size=4, bptt=8)

    whole = sampler.batches_in(0) + sampler.batches_in(1)
    assert planned_steps(config, sampler) == round(whole + sampler.batches_in(2) / 2)
    training = start(make_model(), ids, epochs=2.5)
    losses_of(training)
    assert math.isclose(training.epoch, 2.5, abs_tol=0.02)


@pytest.fixture
def steady_machine(monkeypatch):
    """Simulate a machine on which a step takes 0.2 seconds and everything else no time."""
    now = [0.0]
    update = TrainLoop.update

    def timed_update(training):
        now[0] += 0.2
        return update(training)

    monkeypatch.setattr(TrainLoop, "update", timed_update)
    monkeypatch.setattr(
        "charnn.training.loop.TimeBudget", functools.partial(TimeBudget, clock=lambda: now[0])
    )
    return now


def test_minutes_become_steps(make_model, ids, steady_machine) -> None:
    """A budget of 30 seconds ends within 5 % of it, with the number of steps recorded."""
    training = start(make_model(), ids, minutes=(30 + STARTUP_RESERVE) / 60, warmup_steps=20)
    events = [e for e in train(training) if isinstance(e, Step)]

    assert training.budget.steps == events[-1].step == len(events)
    assert 29.5 < training.counters.seconds < 30.5


@pytest.mark.parametrize("final", [2, 30, 90])
def test_minutes_include_validations_and_the_final_evaluation(
    make_model, ids, steady_machine, final
) -> None:
    """With validations of 0.5 seconds, the time of the final evaluation is reserved."""
    training = start(make_model(), ids, minutes=1)
    training.budget.cost = ValidationCost(split=100, final=100 * final)
    training.budget.fraction = 1.0

    def validate(model):
        steady_machine[0] += 0.5
        yield Score(5.0, 0.0, 5, 5, 5)

    for _ in train(training, validate):
        pass
    scoring = final * 0.5 * training.budget.final_fraction

    assert scoring == pytest.approx(min(final * 0.5, 30))
    assert 57 < training.counters.seconds + scoring + STARTUP_RESERVE < 61.5


def test_minutes_and_their_steps_give_the_same_losses(make_model, ids, steady_machine) -> None:
    """A run with the planned number of steps repeats a run with minutes."""
    timed = start(make_model(), ids, minutes=0.1, warmup_steps=20)
    timed_losses = losses_of(timed)
    repeated = start(make_model(), ids, steps=timed.budget.steps, warmup_steps=20)

    assert losses_of(repeated) == timed_losses


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_markov_chain_is_learned_to_its_entropy(make_model, cell) -> None:
    """Held-out perplexity is within 1 % of exp(entropy) of a chain over 3 symbols."""
    random = np.random.default_rng(5)
    matrix = np.array([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.5, 0.4, 0.1]])
    stationary = np.linalg.matrix_power(matrix, 200)[0]
    entropy = -(stationary[:, None] * matrix * np.log(matrix)).sum()
    chain, uniforms = [0], random.random(60_000)
    for u in uniforms:
        chain.append(int(np.searchsorted(matrix[chain[-1]].cumsum(), u)))
    tokens = np.array(chain, np.uint8)
    model = make_model(cell, vocab_size=3, hidden_size=16)
    training = start(model, tokens[:40_000], batch_size=32, bptt=32, steps=250, lr=2e-2)
    losses_of(training)

    score = evaluate_carried(model, tokens[40_000:], LENGTHS, 0, streams=8)
    assert abs(score.perplexity / math.exp(entropy) - 1) < 0.01


def test_shortened_plan_validates_the_last_weights(make_model, ids, monkeypatch) -> None:
    """The plan can become shorter after a machine was suspended."""
    training = start(make_model(), ids, minutes=1)

    def end_at_23(budget, step):
        budget.steps = 23 if step >= 23 else 1000

    monkeypatch.setattr(TimeBudget, "plan", end_at_23)
    *_, last = train(training, scores(Score(5.0, 0.0, 5, 5, 5)))

    assert isinstance(last, Evaluation)
    assert last.step == training.counters.step == 23


def test_activation_regularization_formulas(make_model, ids) -> None:
    """alpha times the mean square of dropped outputs, beta times that of their changes."""
    training = start(make_model(), ids, activation_reg=2.0, temporal_reg=3.0)
    dropped, outputs = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    changes = outputs[:, 1:] - outputs[:, :-1]

    expected = 2 * dropped.square().mean() + 3 * changes.square().mean()
    torch.testing.assert_close(training._penalty(dropped, outputs), expected)


def test_patience_stops_a_run_without_improvement(make_model, ids) -> None:
    """The run stops after three validations without improvement."""
    training = start(make_model(), ids, steps=100, eval_every=2, patience=3)
    list(train(training, lambda _: iter([Score(nats=1.0, tokens=1)])))

    assert training.counters.step == 2 + 3 * 2
    assert math.isclose(training.counters.best_loss, 1.0)
