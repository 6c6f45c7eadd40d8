"""Dynamic evaluation: scored before learnt from, and the model itself untouched."""

import numpy as np
import pytest
import torch

from charnn.evaluation.dynamic_evaluation import (
    Rates,
    evaluate_dynamic,
    gradient_sizes,
    learning_reader,
    tune,
)
from charnn.evaluation.evaluate import evaluate_carried
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model.language_model import with_weights
from charnn.model.model_file import ModelFile
from charnn.tokenizers.char import CharTokenizer
from tests.tiny import random_tensors, tiny_config

LENGTHS = TokenLengths(np.ones(11, np.int64), np.ones(11, np.int64), None)


@pytest.fixture
def sized(make_model, ids):
    model = make_model()
    return model, gradient_sizes(model, ids, None, segment=16)


def test_without_a_rate_it_is_the_carried_pass(sized, ids) -> None:
    """Weights that do not move give the ordinary score, token for token."""
    model, sizes = sized
    still = evaluate_dynamic(model, ids, LENGTHS, 3, sizes, Rates(lr=0.0, decay=0.0, segment=16))
    plain = evaluate_carried(model, ids, LENGTHS, 3)

    assert still.nats == pytest.approx(plain.nats, rel=1e-5)
    assert (still.tokens, still.chars) == (plain.tokens, plain.chars)


def test_a_text_that_repeats_itself_gets_easier_and_the_model_stays_as_it_was(sized) -> None:
    """An untrained network adapts to two alternating tokens."""
    model, sizes = sized
    before = [tensor.clone() for tensor in model.named_tensors().values()]
    text = np.tile([1, 7], 500)
    moving = evaluate_dynamic(model, text, LENGTHS, 0, sizes, Rates(lr=1e-3, decay=0.0, segment=16))

    assert moving.loss < 0.8 * evaluate_carried(model, text, LENGTHS, 0).loss
    after = model.named_tensors().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_first_segment_is_scored_before_anything_is_learnt(sized, ids) -> None:
    """Nothing is known in advance: on one segment the rates make no difference."""
    model, sizes = sized
    one = [
        evaluate_dynamic(
            model, ids[:16], LENGTHS, 0, sizes, Rates(lr=lr, decay=0.1, segment=16)
        ).nats
        for lr in (0.0, 1.0)
    ]

    assert one[0] == one[1]


def test_tuning_takes_the_lowest_loss_of_the_grid() -> None:
    """Whatever is evaluated."""
    found = tune(lambda rates: Score(nats=abs(rates.lr - 1e-4) + rates.decay, tokens=1))

    assert (found.lr, found.decay) == (1e-4, 3e-4)


def test_a_vocabulary_of_one_symbol_costs_nothing_and_breaks_nothing(make_model) -> None:
    """All gradients are zero there, and so is their average."""
    model = make_model(vocab_size=1)
    text = np.zeros(200, np.int64)
    lengths = TokenLengths(np.ones(1, np.int64), np.ones(1, np.int64), None)
    sizes = gradient_sizes(model, text, None, segment=16)

    assert evaluate_dynamic(model, text, lengths, 0, sizes, Rates(segment=16)).loss == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_learns_on_a_gpu_as_on_the_cpu(make_model, ids) -> None:
    """Where cuDNN computes gradients in training mode alone."""
    losses = []
    for device in ("cpu", "cuda"):
        model = make_model().eval().to(device)
        sizes = gradient_sizes(model, ids, None, segment=16)
        losses.append(evaluate_dynamic(model, ids, LENGTHS, 3, sizes, Rates(segment=16)).loss)

    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_learning_reader_has_the_default_rates() -> None:
    """Its nats are those of dynamic evaluation with the weights of the file."""
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
