"""Dynamic evaluation: segments are scored before the update, and the model is not modified."""

import numpy as np
import pytest
import torch

from charnn.evaluation.dynamic_evaluation import (
    EPSILON,
    TUNED_ON,
    LearningReader,
    Rates,
    evaluate_dynamic,
    gradient_sizes,
    learning_reader,
    tune,
    tuning_tokens,
)
from charnn.evaluation.evaluate import evaluate_carried, record_scores
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model import loss
from charnn.model.language_model import with_weights
from charnn.model.loss import mean_nats
from charnn.model.model_file import ModelFile
from charnn.tokenizers.char import CharTokenizer
from tests.tiny import random_tensors, tiny_config

LENGTHS = TokenLengths(np.ones(11, np.int64), np.ones(11, np.int64), None)


@pytest.fixture
def sized(make_model, ids):
    model = make_model()
    return model, gradient_sizes(model, ids, None, segment=16)


def test_gradient_sizes_do_not_depend_on_how_many_rows_fit_into_memory(
    make_model, ids, monkeypatch
) -> None:
    """The gradient of a batch is the sum over its rows."""
    expected = gradient_sizes(make_model(), ids, None, segment=16)
    monkeypatch.setattr(loss, "MAX_LOGITS_BYTES", 3 * 16 * 11 * loss.BYTES_PER_LOGIT)
    found = gradient_sizes(make_model(), ids, None, segment=16)

    for name, size in expected.items():
        torch.testing.assert_close(found[name], size)


def test_zero_rates_equal_the_carried_pass(sized, ids) -> None:
    """Without updates, the score is that of the fixed model."""
    model, sizes = sized
    dynamic = evaluate_dynamic(model, ids, LENGTHS, 3, sizes, Rates(lr=0.0, decay=0.0, segment=16))
    carried = evaluate_carried(model, ids, LENGTHS, 3)

    assert dynamic.nats == pytest.approx(carried.nats, rel=1e-5)
    assert (dynamic.tokens, dynamic.chars) == (carried.tokens, carried.chars)


def test_records_begin_from_a_zero_state(make_model, ids) -> None:
    """Without updates, the score is that of the fixed model; with updates the weights carry on."""
    model = make_model()
    sizes = gradient_sizes(model, ids, None, segment=16, record_end=3)
    fixed = sum(record_scores(model, ids, LENGTHS, 3), Score())
    zero, learning = (
        evaluate_dynamic(model, ids, LENGTHS, 3, sizes, Rates(rate, 0.0, 16), records=True)
        for rate in (0.0, 1e-3)
    )

    assert zero.nats == pytest.approx(fixed.nats, rel=1e-5)
    assert zero.tokens == fixed.tokens
    assert learning.nats < 0.99 * fixed.nats


def test_dynamic_evaluation_adapts_to_repetition_and_keeps_the_model(sized) -> None:
    """The loss of two alternating tokens decreases by more than 20 %."""
    model, sizes = sized
    before = [tensor.clone() for tensor in model.named_tensors().values()]
    text = np.tile([1, 7], 500)
    dynamic = evaluate_dynamic(
        model, text, LENGTHS, 0, sizes, Rates(lr=1e-3, decay=0.0, segment=16)
    )

    assert dynamic.loss < 0.8 * evaluate_carried(model, text, LENGTHS, 0).loss
    after = model.named_tensors().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_segment_is_scored_before_the_weights_are_updated(sized, ids) -> None:
    """The score of a single segment does not depend on the rates."""
    model, sizes = sized
    one = [
        evaluate_dynamic(
            model, ids[:16], LENGTHS, 0, sizes, Rates(lr=lr, decay=0.1, segment=16)
        ).nats
        for lr in (0.0, 1.0)
    ]

    assert one[0] == one[1]


def test_update_is_the_published_rule_by_hand(sized, ids) -> None:
    """Krause et al., 2018: a step against the gradient over its size, then decay to the start."""
    model, sizes = sized
    rates = Rates(lr=1e-3, decay=0.2, segment=16)
    reader = LearningReader(model, sizes, rates)
    start = {name: tensor.detach().clone() for name, tensor in model.named_tensors().items()}
    average = sum(size.sum() for size in sizes.values()) / sum(s.numel() for s in sizes.values())
    inputs, targets = ids[:16].astype(int), ids[1:17].astype(int)
    logits, _ = model(torch.tensor(inputs)[None], model.initial_state(1))
    loss = mean_nats(logits, torch.tensor(targets)[None])
    gradients = torch.autograd.grad(loss, list(model.named_tensors().values()))
    reader.log_probs(inputs, targets)

    for (name, found), gradient in zip(
        reader.model.named_tensors().items(), gradients, strict=True
    ):
        moved = start[name] - rates.lr * gradient / (sizes[name] + EPSILON)
        decay = (rates.decay * sizes[name] / average).clamp(max=1)
        torch.testing.assert_close(found.detach(), moved + decay * (start[name] - moved))


def test_rates_are_tuned_on_at_most_a_fifth_of_the_text() -> None:
    """And on whole records."""
    records = np.tile([1, 2, 0], 100)

    assert tuning_tokens(np.zeros(10**6, np.uint8)) == TUNED_ON
    assert tuning_tokens(np.zeros(5000, np.uint8)) == 1000
    assert tuning_tokens(records, record_end=0) == 60
    assert tuning_tokens(records[:298], record_end=0) == 57


def test_tune_returns_the_rates_with_the_lowest_loss() -> None:
    """The function to minimize is arbitrary."""
    found = tune(lambda rates: Score(nats=abs(rates.lr - 1e-4) + rates.decay, tokens=1))

    assert (found.lr, found.decay) == (1e-4, 3e-4)


def test_vocabulary_of_one_symbol_has_zero_loss(make_model) -> None:
    """All gradients are zero, and so is their average."""
    model = make_model(vocab_size=1)
    text = np.zeros(200, np.int64)
    lengths = TokenLengths(np.ones(1, np.int64), np.ones(1, np.int64), None)
    sizes = gradient_sizes(model, text, None, segment=16)

    assert evaluate_dynamic(model, text, lengths, 0, sizes, Rates(segment=16)).loss == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_and_cpu_give_the_same_loss(make_model, ids) -> None:
    """cuDNN computes gradients only in training mode."""
    losses = []
    for device in ("cpu", "cuda"):
        model = make_model().eval().to(device)
        sizes = gradient_sizes(model, ids, None, segment=16)
        losses.append(evaluate_dynamic(model, ids, LENGTHS, 3, sizes, Rates(segment=16)).loss)

    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_learning_reader_uses_the_default_rates() -> None:
    """Its nats equal those of dynamic evaluation with the weights of the file."""
    tokenizer = CharTokenizer.build("abcdefgh .")
    config = tiny_config("lstm", 1, vocab_size=tokenizer.vocab_size)
    model_file = ModelFile(config, tokenizer, 3, random_tensors(config))
    train, text = np.random.default_rng(1).integers(0, 10, (2, 200))
    reader = learning_reader(model_file, train)
    nats = -reader.log_probs(np.append(3, text[:-1]), text)
    model = with_weights(model_file)
    sizes = gradient_sizes(model, train, tokenizer.unk_id, Rates().segment)
    score = evaluate_dynamic(model, text, TokenLengths.of(tokenizer), 3, sizes, Rates())

    assert nats.sum() == pytest.approx(score.nats)
