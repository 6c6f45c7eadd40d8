"""Training runs: rollback, time budget, final evaluation, best model."""

import dataclasses
import itertools
import json
import math
import time

import numpy as np
import pytest
import torch

from charnn.config import TrainConfig
from charnn.errors import DivergedError
from charnn.evaluation.metrics import Score
from charnn.model.model_file import read_model
from charnn.training.events import Noted, Step, Warned
from charnn.training.loop import TrainLoop
from charnn.training.resolve import Resolved, resolve_machine
from charnn.training.time_budget import TimeBudget
from charnn.training.trainer import MAX_ROLLBACKS, Trainer


@pytest.fixture
def trainer(tmp_path, dataset):
    shape = {"hidden_size": 8, "embedding_dim": 4, "batch_size": 4, "bptt": 8}
    asked = TrainConfig(**shape, steps=20, final_lr_frac=1.0, precision="float32")
    config = resolve_machine(asked, dataset).config
    trainer = Trainer(dataset, config, tmp_path / "run", baselines=True)
    trainer.folder.create(force=False)
    return trainer


def diverging(monkeypatch, times):
    """Make step 11 fail this number of times."""
    update, failures = TrainLoop.update, [times]

    def fail(training):
        if training.counters.step == 10 and failures[0]:
            failures[0] -= 1
            raise DivergedError("loss nan")
        return update(training)

    monkeypatch.setattr(TrainLoop, "update", fail)


def test_divergence_rolls_back_and_halves_the_learning_rate(trainer, monkeypatch) -> None:
    """There is a warning, training continues, and no step is logged twice."""
    diverging(monkeypatch, 2)
    events = list(trainer.events())
    rates = {event.step: event.lr for event in events if isinstance(event, Step)}

    assert sum(isinstance(event, Warned) for event in events) == 2
    assert trainer.loop.counters.step == 20
    assert trainer.loop.counters.lr_scale == 0.25
    assert rates[20] == rates[10] / 4


def test_fourth_divergence_fails_and_keeps_a_good_model(trainer, monkeypatch) -> None:
    """DivergedError with exit code 3."""
    diverging(monkeypatch, MAX_ROLLBACKS + 1)
    with pytest.raises(DivergedError) as caught:
        list(trainer.events())

    assert caught.value.exit_code == 3
    assert read_model(trainer.folder.model_path).metrics["step"] <= 10


@pytest.mark.parametrize("loss", [math.nan, math.inf, 99.0])
def test_an_exploded_validation_is_no_state_to_go_back_to(trainer, monkeypatch, loss) -> None:
    """The run rolls back to the validation before it."""
    losses = itertools.chain([2.0], itertools.repeat(loss))
    monkeypatch.setattr(
        trainer.validator, "during", lambda *_: iter([Score(nats=next(losses), tokens=1)])
    )
    trainer.loop.budget = TimeBudget(steps=20, eval_every=4, cost=trainer.validator.cost)
    diverging(monkeypatch, 1)
    warnings = [event.message for event in trainer.events() if isinstance(event, Warned)]

    assert len(warnings) == 1
    assert "rolled back to step 4," in warnings[0]


def test_a_resumed_run_rolls_back_to_the_same_state(
    dataset, tmp_path, monkeypatch, trainer
) -> None:
    """The last good validation survives a stop between two validations."""
    config = trainer.config.model_copy(update={"eval_every": 6, "dropout": 0.3})

    def new(name):
        return Trainer(dataset, config, tmp_path / name)

    diverging(monkeypatch, 1)
    whole = new("whole")
    whole.folder.create(force=False)
    list(whole.events())
    stopped = new("stopped")
    stopped.folder.create(force=False)
    for event in (events := stopped.events()):
        if isinstance(event, Step) and event.step == 8:
            break
    events.close()
    stopped.save()
    diverging(monkeypatch, 1)
    resumed = new("stopped")
    resumed.resume()
    warned = [event.message for event in resumed.events() if isinstance(event, Warned)]

    assert "rolled back to step 6," in warned[0]
    for name, tensor in whole.loop.model.named_tensors().items():
        assert torch.equal(tensor, resumed.loop.model.named_tensors()[name])


def test_a_run_with_the_wrong_size_starts_again(trainer, monkeypatch) -> None:
    """In the same folder and log, with the time that was spent; once."""
    wider = trainer.config.model_copy(update={"hidden_size": 16})
    speeds = []

    def reconsider(tokens_per_minute):
        speeds.append(tokens_per_minute)
        return Resolved(wider, ("training is faster: chose another size",), 1e5)

    monkeypatch.setattr(
        TimeBudget, "check_speed", lambda budget: 0.5 if budget._steps_timed == 7 else None
    )
    trainer._reconsider = reconsider
    trainer.save()
    events = list(trainer.events())
    notes = [event.message for event in events if isinstance(event, Noted)]
    log = (trainer.folder.path / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in log.splitlines()]

    assert speeds == [pytest.approx(60 / 0.5 * 4 * 8)] * len(speeds)
    assert "training is faster: chose another size; starting again with this network" in notes
    assert read_model(trainer.folder.model_path).config.hidden_size == 16
    assert "hidden_size: 16" in (trainer.folder.path / "config.yaml").read_text()
    assert [event.step for event in events if isinstance(event, Step)][6:9] == [7, 1, 2]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    assert not (trainer.folder.path / "checkpoints" / "step-00000000").exists()
    assert events[-1].steps == 20


def test_a_faster_run_of_the_same_size_gets_more_dropout(trainer, monkeypatch) -> None:
    """From the next step on, without a new start."""
    stronger = trainer.config.model_copy(update={"dropout": 0.5})
    trainer._reconsider = lambda _: Resolved(stronger, ("training is faster",), 1e5)
    monkeypatch.setattr(
        TimeBudget, "check_speed", lambda budget: 0.5 if budget._steps_timed == 7 else None
    )
    events = list(trainer.events())

    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 21))
    assert trainer.loop.model.dropout.rate == 0.5
    assert "dropout: 0.5" in (trainer.folder.path / "config.yaml").read_text()


def test_initial_loss_is_that_of_unigrams(trainer) -> None:
    """An untrained model with a zero state predicts the unigram frequencies."""
    tokens = trainer.dataset.split("train").astype(np.int64)
    with torch.no_grad():
        logits = trainer.loop.model.output(torch.zeros(8))
    nats = -logits.log_softmax(0)[tokens].mean()

    frequencies = np.bincount(tokens) / len(tokens)
    entropy = -(frequencies * np.log(np.maximum(frequencies, 1e-9))).sum()
    assert float(nats) == pytest.approx(entropy, rel=1e-2)


def test_average_is_saved_without_validation(dataset, tmp_path, trainer) -> None:
    """The summary announces averaging, and the final learning rate may be high."""
    alone = dataclasses.replace(dataset, splits={"train": dataset.splits["train"]})
    config = trainer.config.model_copy(update={"average": True})
    unvalidated = Trainer(alone, config, tmp_path / "alone")
    unvalidated.folder.create(force=False)
    list(unvalidated.events())
    kept = read_model(unvalidated.folder.model_path)
    training = unvalidated.loop

    assert kept.metrics == {"step": 20, "averaged": True}
    name = "layers.0.weight_hh"
    np.testing.assert_array_equal(kept.tensors[name], training.average.tensors[name].numpy())
    assert not np.array_equal(kept.tensors[name], training.model.named_tensors()[name].detach())


def test_minutes_include_the_start_up(dataset, tmp_path, trainer) -> None:
    """The time before the first step counts towards the budget."""
    config = trainer.config.model_copy(update={"steps": None, "minutes": 1.0})
    late = Trainer(dataset, config, tmp_path / "late", began=time.perf_counter() - 56)
    late.folder.create(force=False)
    events = list(late.events())
    result = events[-1]

    assert 56 <= events[0].seconds < 60
    assert result.seconds > 56
    assert result.tokens_per_second > late.loop.counters.tokens / 10  # of training only


def test_final_evaluation_is_limited_by_minutes(trainer, monkeypatch) -> None:
    """A note gives the fraction; without minutes the whole split is evaluated."""
    budget = TimeBudget(steps=20, minutes=1.0, cost=trainer.validator.cost)
    monkeypatch.setattr(TimeBudget, "final_fraction", 0.1)
    trainer.loop.budget = budget
    events = list(trainer.events())
    result = events[-1]
    tokens = len(trainer.dataset.split("val"))

    assert result.val is not None
    assert result.val.tokens == pytest.approx(0.1 * tokens, abs=rounding_error(tokens))
    notes = [event.message for event in events if isinstance(event, Noted)]
    assert any("of the validation split was evaluated" in note for note in notes)
    assert result.share == pytest.approx(read_model(trainer.folder.model_path).metrics["share"])


def rounding_error(tokens: int) -> float:
    """Return the tokens by which a fraction is exceeded, because each stream rounds up."""
    return 1 + tokens / 4096


def test_result_is_the_best_model_on_the_full_split(trainer) -> None:
    """The model file has its weights and its score."""
    *_, result = trainer.events()
    kept = read_model(trainer.folder.model_path)

    assert result.val is not None
    assert kept.metrics["val"]["loss"] == pytest.approx(result.val.loss)
    assert kept.metrics["step"] == result.best_step
    assert result.val.tokens == len(trainer.dataset.split("val"))
    assert set(result.baselines) == {"unigram", "5-gram", "xz"}


def test_sample_of_a_record_model_has_three_records(dataset, tmp_path, trainer) -> None:
    """Each ends in a newline."""
    records = dataclasses.replace(
        dataset, meta={**dataset.meta, "policies": {**dataset.meta["policies"], "lines": True}}
    )
    listed = Trainer(records, trainer.config, tmp_path / "listed")

    assert len(listed.sample().split("\n")) == 3
    assert len(trainer.sample()) >= 5
