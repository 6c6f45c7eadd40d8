"""A run from dataset to result: divergence rolls back, and the best model is what is kept."""

import dataclasses
import time

import numpy as np
import pytest
import torch

from charnn.config import TrainConfig
from charnn.errors import DivergedError
from charnn.model.model_file import read_model
from charnn.training.events import Noted, Step, Warned
from charnn.training.loop import TrainLoop
from charnn.training.resolve import resolve_machine
from charnn.training.time_budget import TimeBudget
from charnn.training.trainer import MAX_ROLLBACKS, Trainer


@pytest.fixture
def trainer(tmp_path, dataset):
    shape = {"hidden_size": 8, "embedding_dim": 4, "batch_size": 4, "bptt": 8}
    asked = TrainConfig(**shape, steps=20, final_lr_frac=1.0, precision="float32")
    config = resolve_machine(asked, len(dataset.split("train"))).config
    trainer = Trainer(dataset, config, tmp_path / "run", baselines=True)
    trainer.folder.create(force=False)
    return trainer


def diverging(monkeypatch, times):
    """Make step 11 fail so many times."""
    update, failures = TrainLoop.update, [times]

    def fail(training):
        if training.counters.step == 10 and failures[0]:
            failures[0] -= 1
            raise DivergedError("loss nan")
        return update(training)

    monkeypatch.setattr(TrainLoop, "update", fail)


def test_g1_a_divergence_goes_back_with_half_the_learning_rate(trainer, monkeypatch) -> None:
    """It says so, trains on to the end, and no step is logged twice."""
    diverging(monkeypatch, 2)
    events = list(trainer.events())
    rates = {event.step: event.lr for event in events if isinstance(event, Step)}

    assert sum(isinstance(event, Warned) for event in events) == 2
    assert trainer.loop.counters.step == 20
    assert trainer.loop.counters.lr_scale == 0.25
    assert rates[20] == rates[10] / 4


def test_g1_after_three_roll_backs_it_is_given_up_with_a_good_model(trainer, monkeypatch) -> None:
    """DivergedError, exit code 3, and the last good model in its place."""
    diverging(monkeypatch, MAX_ROLLBACKS + 1)
    with pytest.raises(DivergedError) as caught:
        list(trainer.events())

    assert caught.value.exit_code == 3
    assert read_model(trainer.folder.model_path).metrics["step"] <= 10


def test_a_run_starts_at_the_frequencies_of_its_symbols(trainer) -> None:
    """Without a step, a model whose state is zero costs what the unigrams of its text do."""
    tokens = trainer.dataset.split("train").astype(np.int64)
    with torch.no_grad():
        logits = trainer.loop.model.output(torch.zeros(8))
    nats = -logits.log_softmax(0)[tokens].mean()

    frequencies = np.bincount(tokens) / len(tokens)
    entropy = -(frequencies * np.log(np.maximum(frequencies, 1e-9))).sum()
    assert float(nats) == pytest.approx(entropy, rel=1e-2)


def test_without_validation_the_average_of_the_last_weights_is_kept(
    dataset, tmp_path, trainer
) -> None:
    """As it was announced; the rates of such a run may not have sunk far."""
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


def test_minutes_count_from_when_the_command_began(dataset, tmp_path, trainer) -> None:
    """What it took to come to the first step is part of them."""
    config = trainer.config.model_copy(update={"steps": None, "minutes": 1.0})
    late = Trainer(dataset, config, tmp_path / "late", began=time.perf_counter() - 50)
    late.folder.create(force=False)
    events = list(late.events())
    result = events[-1]

    assert 50 <= events[0].seconds < 60
    assert result.seconds > 50
    assert result.tokens_per_second > late.loop.counters.tokens / 10  # of the training alone


def test_of_a_long_validation_split_as_much_is_scored_as_its_minutes_allow(
    trainer, monkeypatch
) -> None:
    """And it is said; without minutes all of it is."""
    budget = TimeBudget(steps=20, minutes=1.0, cost=trainer.validator.cost)
    monkeypatch.setattr(TimeBudget, "final_fraction", 0.1)
    trainer.loop.budget = budget
    events = list(trainer.events())
    result = events[-1]
    tokens = len(trainer.dataset.split("val"))

    assert result.val is not None
    assert result.val.tokens == pytest.approx(0.1 * tokens, abs=session_rounding(tokens))
    notes = [event.message for event in events if isinstance(event, Noted)]
    assert any("of the validation split was scored" in note for note in notes)
    assert result.share == pytest.approx(read_model(trainer.folder.model_path).metrics["share"])


def session_rounding(tokens: int) -> float:
    """Return the tokens by which a fraction, rounded up in every stream, may be exceeded."""
    return 1 + tokens / 4096


def test_the_result_is_the_best_model_on_the_whole_split(trainer) -> None:
    """Its score is noted in the file, which holds that model's weights."""
    *_, result = trainer.events()
    kept = read_model(trainer.folder.model_path)

    assert result.val is not None
    assert kept.metrics["val"]["loss"] == pytest.approx(result.val.loss)
    assert kept.metrics["step"] == result.best_step
    assert result.val.tokens == len(trainer.dataset.split("val"))
    assert set(result.baselines) == {"unigram", "5-gram", "xz"}


def test_a_model_of_records_shows_three_of_them(dataset, tmp_path, trainer) -> None:
    """Each ends at its newline; one alone would say little of what was learnt."""
    records = dataclasses.replace(
        dataset, meta={**dataset.meta, "policies": {**dataset.meta["policies"], "lines": True}}
    )
    listed = Trainer(records, trainer.config, tmp_path / "listed")

    assert len(listed.sample().split("\n")) == 3
    assert len(trainer.sample()) >= 5
