"""Validation of a run: parts of a split, and their cost in tokens."""

import pytest
import torch

from charnn.config import PrepareConfig
from charnn.evaluation.evaluate import evaluate_carried, record_scores
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model.device import Arithmetic
from charnn.training import validation
from charnn.training.validation import Validator
from charnn.training.weight_average import WeightAverage
from tests.tiny import written_dataset

CPU = Arithmetic(torch.device("cpu"), "float32")


def test_final_score_is_that_of_the_full_split(dataset, make_model) -> None:
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


def test_averaged_weights_are_validated_themselves_in_bfloat16(dataset, make_model) -> None:
    """Not a copy of the current weights that autocast has cast before."""
    model, average = make_model(vocab_size=dataset.tokenizer.vocab_size), WeightAverage()
    average.update({name: t.detach() for name, t in model.named_tensors().items()}, horizon=10)
    with torch.no_grad():
        for tensor in model.named_tensors().values():
            tensor.mul_(1.5)
    validator = Validator(dataset, Arithmetic(torch.device("cpu"), "bfloat16"))

    def loss_of(network):
        return sum(validator.during(network, 1.0), Score()).loss

    network = average.network(model)
    current, averaged = loss_of(model), loss_of(network)
    fresh = make_model(vocab_size=dataset.tokenizer.vocab_size)
    fresh.load_tensors(average.tensors)

    assert averaged == loss_of(fresh)
    assert averaged != current


def test_fraction_is_distributed_over_the_split(dataset, make_model) -> None:
    """Each stream reads that fraction of its part."""
    model = make_model(vocab_size=dataset.tokenizer.vocab_size)
    score = sum(Validator(dataset, CPU).during(model, 0.25), Score())

    assert score.tokens == pytest.approx(0.25 * len(dataset.split("val")), abs=validation.STREAMS)


def test_train_score_uses_as_many_tokens_as_val(dataset, make_model, monkeypatch) -> None:
    """At the end of the split, and at most TRAIN_SCORED tokens."""
    model = make_model(vocab_size=dataset.tokenizer.vocab_size)
    equal = sum(Validator(dataset, CPU).final_train(model, 1.0), Score())
    monkeypatch.setattr(validation, "TRAIN_SCORED", 50)
    few = sum(Validator(dataset, CPU).final_train(model, 1.0), Score())

    assert equal.tokens == len(dataset.split("val"))
    assert few.tokens == 50


def test_records_are_scored_from_a_zero_state(tmp_path, text, make_model, monkeypatch) -> None:
    """During training, at the end, and in the training split, whose last whole records are read."""
    splits = {"train": text, "val": "the lamp\nthe sea\n" * 9}
    dataset = written_dataset(tmp_path / "list", splits, config=PrepareConfig(lines=True))
    model = make_model(vocab_size=dataset.tokenizer.vocab_size)
    validator, lengths = Validator(dataset, CPU), TokenLengths.of(dataset.tokenizer)

    def scored(split):
        tokens = dataset.tokenizer.encode(split).ids
        return sum(record_scores(model, tokens, lengths, dataset.start_token), Score())

    last = splits["train"][-len(splits["val"]) :]
    for parts, expected in (
        (validator.during(model, 1.0), scored(splits["val"])),
        (validator.final_val(model, 1.0), scored(splits["val"])),
        (validator.final_train(model, 1.0), scored(last[last.index("\n") + 1 :])),
    ):
        assert sum(parts, Score()).loss == pytest.approx(expected.loss)
    assert validator.cost.warm_up == 0
    monkeypatch.setattr(validation, "TRAIN_SCORED", 1)
    assert sum(Validator(dataset, CPU).final_train(model, 1.0), Score()).tokens > 1


def test_cost_is_the_number_of_tokens_read(dataset) -> None:
    """It is 0 without a validation split."""
    tokens = len(dataset.split("val"))
    cost = Validator(dataset, CPU).cost
    assert cost.split == tokens
    assert cost.warm_up % validation.SHORT_WARM_UP == 0
    assert cost.final >= 2 * tokens


def test_dataset_without_validation_split_has_no_score(tmp_path, text, make_model) -> None:
    """Nor does its training split."""
    dataset = written_dataset(tmp_path / "all", {"train": text})
    model = make_model(vocab_size=dataset.tokenizer.vocab_size)
    validator = Validator(dataset, CPU)

    assert sum(validator.final_val(model, 1.0), Score()).tokens == 0
    assert sum(validator.final_train(model, 1.0), Score()).tokens == 0
