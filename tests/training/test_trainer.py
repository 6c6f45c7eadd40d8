"""A run from dataset to result: divergence rolls back, and the best model is what is kept."""

import dataclasses
import time

import numpy as np
import pytest
import torch

from charnn.config import TrainConfig
from charnn.errors import DivergedError
from charnn.model.model_file import read_model
from charnn.training.events import Step, Warned
from charnn.training.loop import TrainLoop
from charnn.training.trainer import ROLL_BACKS, Trainer


@pytest.fixture
def session(tmp_path, dataset):
    shape = {"hidden_size": 8, "embedding_dim": 4, "batch_size": 4, "bptt": 8}
    config = TrainConfig(**shape, steps=20, final_lr_frac=1.0, precision="float32")
    session = Trainer(dataset, config, tmp_path / "run")
    session.run.create(force=False)
    return session


def diverging(monkeypatch, times):
    """Make step 11 fail so many times."""
    update, failures = TrainLoop.update, [times]

    def fail(training):
        if training.step == 10 and failures[0]:
            failures[0] -= 1
            raise DivergedError("loss nan")
        return update(training)

    monkeypatch.setattr(TrainLoop, "update", fail)


def test_g1_a_divergence_goes_back_with_half_the_learning_rate(session, monkeypatch) -> None:
    """It says so, trains on to the end, and no step is logged twice."""
    diverging(monkeypatch, 2)
    events = list(session.events())
    rates = {event.step: event.lr for event in events if isinstance(event, Step)}

    assert sum(isinstance(event, Warned) for event in events) == 2
    assert session.training.step == 20
    assert session.training.lr_scale == 0.25
    assert rates[20] == rates[10] / 4


def test_g1_after_three_roll_backs_it_is_given_up_with_a_good_model(session, monkeypatch) -> None:
    """DivergedError, exit code 3, and the last good model in its place."""
    diverging(monkeypatch, ROLL_BACKS + 1)
    with pytest.raises(DivergedError) as caught:
        list(session.events())

    assert caught.value.exit_code == 3
    assert read_model(session.run.model_path).metrics["step"] <= 10


def test_a_run_starts_at_the_frequencies_of_its_symbols(session) -> None:
    """Without a step, a model whose state is zero costs what the unigrams of its text do."""
    tokens = session.dataset.split("train").astype(np.int64)
    with torch.no_grad():
        logits = session.training.model.output(torch.zeros(8))
    nats = -logits.log_softmax(0)[tokens].mean()

    shares = np.bincount(tokens) / len(tokens)
    entropy = -(shares * np.log(np.maximum(shares, 1e-9))).sum()
    assert float(nats) == pytest.approx(entropy, rel=1e-2)


def test_without_validation_the_average_of_the_last_weights_is_kept(
    dataset, tmp_path, session
) -> None:
    """As it was announced; the rates of such a run may not have sunk far."""
    alone = dataclasses.replace(dataset, splits={"train": dataset.splits["train"]})
    config = session.config.model_copy(update={"average": True})
    unvalidated = Trainer(alone, config, tmp_path / "alone")
    unvalidated.run.create(force=False)
    list(unvalidated.events())
    unvalidated.finish()
    kept = read_model(unvalidated.run.model_path)
    training = unvalidated.training

    assert kept.metrics == {"step": 20, "averaged": True}
    name = "layers.0.weight_hh"
    np.testing.assert_array_equal(kept.tensors[name], training.average.tensors[name].numpy())
    assert not np.array_equal(kept.tensors[name], training.model.named_tensors()[name].detach())


def test_minutes_count_from_when_the_command_began(dataset, tmp_path, session) -> None:
    """What it took to come to the first step is part of them."""
    config = session.config.model_copy(update={"steps": None, "minutes": 1.0})
    late = Trainer(dataset, config, tmp_path / "late", began=time.perf_counter() - 50)
    late.run.create(force=False)
    first = next(late.events())

    assert 50 <= first.seconds < 60
    result = late.finish()
    assert result.seconds > 50
    assert result.tokens_per_second > late.training.tokens / 10  # of the training alone


def test_of_a_long_validation_split_as_much_is_scored_as_its_minutes_allow(session) -> None:
    """And it is said; without minutes all of it is."""
    list(session.events())
    closing = session.validator.validations_at_end(session.training.validation_share)
    session.training.config = session.config.model_copy(update={"steps": None, "minutes": 1.0})
    session.training.validation_seconds = 300 / closing  # so that a tenth fits into 30 seconds
    result = session.finish()
    tokens = len(session.dataset.split("val"))

    assert result.val is not None
    assert result.val.tokens == pytest.approx(0.1 * tokens, abs=session_rounding(tokens))
    assert any("of the validation split was scored" in note for note in session.notes)
    assert result.share == pytest.approx(read_model(session.run.model_path).metrics["share"])


def session_rounding(tokens: int) -> float:
    """A share is rounded up in every stream."""
    return 1 + tokens / 4096


def test_the_result_is_the_best_model_on_the_whole_split(session) -> None:
    """Its score is noted in the file, which holds that model's weights."""
    list(session.events())
    result = session.finish()
    kept = read_model(session.run.model_path)

    assert result.val is not None
    assert kept.metrics["val"]["loss"] == pytest.approx(result.val.loss)
    assert kept.metrics["step"] == result.best_step
    assert result.val.tokens == len(session.dataset.split("val"))
    assert set(session.validator.ladder) == {"unigram", "5-gram", "xz"}


def test_a_model_of_records_shows_three_of_them(dataset, tmp_path, session) -> None:
    """Each ends at its newline; one alone would say little of what was learnt."""
    records = dataclasses.replace(
        dataset, meta={**dataset.meta, "policies": {**dataset.meta["policies"], "lines": True}}
    )
    listed = Trainer(records, session.config, tmp_path / "listed")

    assert len(listed.sample(tokens=5).split("\n")) == 3
    assert len(session.sample(tokens=5)) >= 5
