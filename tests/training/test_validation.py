"""Validation of a run: parts of a split that add up, and their costs in tokens."""

import pytest
import torch

from charnn.evaluation.evaluate import evaluate_carried
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model.device import Arithmetic
from charnn.training import validation
from charnn.training.validation import Validator
from tests.tiny import written_dataset

CPU = Arithmetic(torch.device("cpu"), "float32")


def test_the_final_score_is_that_of_the_whole_split(dataset, make_model) -> None:
    """The score of a validation during training is close to it."""
    model = make_model(vocab_size=dataset.tokenizer.vocab_size)
    validator, tokens = Validator(dataset, CPU), dataset.split("val")
    lengths = TokenLengths.of(dataset.tokenizer)
    exact = evaluate_carried(model, tokens, lengths, dataset.start_token)
    final = sum(validator.final_val(model, 1.0), Score())
    during = sum(validator.during(model, 1.0), Score())

    assert final.tokens == during.tokens == len(tokens)
    assert final.loss == pytest.approx(exact.loss)
    assert during.loss == pytest.approx(exact.loss, abs=0.01)


def test_a_fraction_is_taken_from_all_over_the_split(dataset, make_model) -> None:
    """Each stream reads that fraction of its part."""
    model = make_model(vocab_size=dataset.tokenizer.vocab_size)
    score = sum(Validator(dataset, CPU).during(model, 0.25), Score())

    assert score.tokens == pytest.approx(0.25 * len(dataset.split("val")), abs=validation.STREAMS)


def test_the_training_split_is_scored_on_as_many_tokens_as_the_validation_split(
    dataset, make_model, monkeypatch
) -> None:
    """At its end, and on at most TRAIN_SCORED tokens."""
    model = make_model(vocab_size=dataset.tokenizer.vocab_size)
    equal = sum(Validator(dataset, CPU).final_train(model, 1.0), Score())
    monkeypatch.setattr(validation, "TRAIN_SCORED", 50)
    few = sum(Validator(dataset, CPU).final_train(model, 1.0), Score())

    assert equal.tokens == len(dataset.split("val"))
    assert few.tokens == 50


def test_costs_are_the_tokens_that_are_read(dataset) -> None:
    """Without a validation split nothing is read."""
    tokens = len(dataset.split("val"))
    cost = Validator(dataset, CPU).cost
    assert cost.split == tokens
    assert cost.warm_up % validation.SHORT_WARM_UP == 0
    assert cost.final >= 2 * tokens


def test_a_dataset_without_a_validation_split_has_no_score(tmp_path, text, make_model) -> None:
    """Not even of the training split."""
    dataset = written_dataset(tmp_path / "all", {"train": text})
    model = make_model(vocab_size=dataset.tokenizer.vocab_size)
    validator = Validator(dataset, CPU)

    assert sum(validator.final_val(model, 1.0), Score()).tokens == 0
    assert sum(validator.final_train(model, 1.0), Score()).tokens == 0
