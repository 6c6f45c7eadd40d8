"""Evaluation with carried state and in windows, compared with a plain loop."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from charnn.config import ModelConfig, TrainConfig
from charnn.data.samplers import SequentialSampler
from charnn.evaluation.evaluate import (
    CHUNK,
    carried_scores,
    default_streams,
    evaluate_carried,
    evaluate_windows,
    record_scores,
)
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model import loss
from charnn.model.device import Arithmetic
from charnn.model.language_model import LanguageModel
from charnn.training.loop import TrainLoop, train

BFLOAT16 = Arithmetic(torch.device("cpu"), "bfloat16")

LENGTHS = TokenLengths(np.arange(11) % 3 + 1, np.arange(11) % 2 + 1, None)


def slow_to_forget(model):
    """Return the model with gates set so that units keep their state for hundreds of tokens."""
    with torch.no_grad():
        for layer in model.recurrent_layers():
            layer.gate_biases()["f"].fill_(5.0)
            layer.gate_biases()["g"].fill_(2.0)
        model.output.weight.mul_(4)
    return model


def plain_nats(model, inputs, targets):
    """Return -ln p of each target in one carried pass over the inputs, without chunks."""
    with torch.no_grad():
        model.eval()
        logits, _ = model(torch.tensor(inputs)[None], model.initial_state(1))
        return F.cross_entropy(logits[0], torch.tensor(targets), reduction="none").numpy()


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_carried_pass_agrees_with_a_plain_loop(make_model, ids, cell) -> None:
    """All N tokens are scored, the first after the start token, with their characters and bytes."""
    model = make_model(cell)
    score = evaluate_carried(model, ids, LENGTHS, start_token=3)

    tokens = ids.astype(int).tolist()
    nats = plain_nats(model, [3, *tokens[:-1]], tokens)
    assert score.tokens == len(ids)
    assert math.isclose(score.nats, nats.sum(), rel_tol=1e-5)
    expected = LENGTHS.score(nats.astype(float), ids)
    assert math.isclose(score.loss_stderr, expected.loss_stderr, rel_tol=1e-4)
    assert score.chars == LENGTHS.chars[ids].sum()
    assert score.bytes == LENGTHS.bytes[ids].sum()


def logits_sizes(monkeypatch, model):
    """Return the list to which each call of the output layer appends the number of its logits."""
    sizes = []
    forward = model.output.forward

    def recorded(outputs):
        logits = forward(outputs)
        sizes.append(logits.numel())
        return logits

    monkeypatch.setattr(model.output, "forward", recorded)
    return sizes


@pytest.mark.parametrize("streams", [1, 7])
def test_memory_of_logits_is_bounded(make_model, monkeypatch, streams) -> None:
    """Chunks are shorter for more streams and a larger vocabulary; the score is the same."""
    ids = np.random.default_rng(1).integers(11, size=3000)
    model = make_model()
    expected = evaluate_carried(model, ids, LENGTHS, 0, streams)
    monkeypatch.setattr(loss, "MAX_LOGITS_BYTES", 10_000)
    sizes = logits_sizes(monkeypatch, model)
    found = evaluate_carried(model, ids, LENGTHS, 0, streams)

    assert 5_000 < max(sizes) * loss.BYTES_PER_LOGIT <= 10_000
    assert found.nats == pytest.approx(expected.nats, rel=1e-6)
    assert found.tokens == expected.tokens


def test_one_position_is_read_even_if_it_exceeds_the_bound() -> None:
    """A vocabulary of a million is evaluated token by token."""
    assert loss.positions_at_once(64, 10**6) == 1
    assert loss.positions_at_once(64, 50_000) * 64 * 50_000 * loss.BYTES_PER_LOGIT <= 256e6


def test_validation_copies_only_what_it_reads(make_model) -> None:
    """The split stays in its narrow type, whatever fraction of it is read."""
    ids = np.zeros(4_000_000, np.uint8)
    tracemalloc.start()
    for _ in carried_scores(make_model(), ids, LENGTHS, 0, streams=4, warm_up=0, fraction=1e-4):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < len(ids) / 4


def test_parallel_streams_agree_with_the_exact_pass(make_model) -> None:
    """With a warm-up of 1,024 tokens the loss is within 0.002 nats; each token counts once."""
    ids = np.random.default_rng(1).integers(11, size=9001)
    model = slow_to_forget(make_model("lstm"))
    one = evaluate_carried(model, ids, LENGTHS, 0, streams=1)
    many = evaluate_carried(model, ids, LENGTHS, 0, streams=7)
    cold = evaluate_carried(model, ids, LENGTHS, 0, streams=7, warm_up=0)

    assert many.tokens == one.tokens == cold.tokens == 9001
    assert many.chars == one.chars
    assert abs(many.loss - one.loss) < 0.002
    assert abs(cold.loss - one.loss) > 0.002  # without a warm-up it is not


def test_fraction_is_a_sample_of_the_whole_text(make_model) -> None:
    """A quarter of the tokens of every part has a loss near that of the whole text."""
    ids = np.repeat(np.arange(8), 1000)  # every part has a different loss
    model = make_model("lstm")
    full = evaluate_carried(model, ids, LENGTHS, 0, streams=8)
    scores = carried_scores(model, ids, LENGTHS, 0, streams=8, warm_up=64, fraction=0.25)
    part = sum(scores, Score())

    assert part.tokens == 2000
    assert abs(part.loss - full.loss) < 0.05


def test_windows_are_independent_and_score_all_but_the_first_token(make_model, ids) -> None:
    """Each window of 7 starts from the zero state; the last, shorter one is scored too."""
    model = make_model()
    score = evaluate_windows(model, ids, LENGTHS, 7)

    tokens = ids.astype(int).tolist()
    expected = sum(
        plain_nats(model, tokens[i : i + 7][: len(tokens) - 1 - i], tokens[i + 1 : i + 8]).sum()
        for i in range(0, len(tokens) - 1, 7)
    )
    assert score.tokens == len(ids) - 1
    assert math.isclose(score.nats, expected, rel_tol=1e-5)


def test_records_agree_with_a_loop_over_lines(make_model, ids) -> None:
    """Each begins after the start token in the zero state; padding is not scored."""
    model, end = make_model(), 3
    ids[200 : 200 + 2 * CHUNK] = 4  # a record that is longer than a chunk
    tokens = ids.astype(int)
    records = [text.tolist() for text in np.split(tokens, np.flatnonzero(tokens == end) + 1)]
    nats = np.concatenate([plain_nats(model, [end, *text[:-1]], text) for text in records])
    score = sum(record_scores(model, ids, LENGTHS, end), Score())

    assert len(records) > 60
    assert len(records[-1]) > 0  # it lacks the end token
    assert score.tokens == len(ids)
    assert math.isclose(score.nats, nats.sum(), rel_tol=1e-5)
    expected = LENGTHS.score(nats.astype(float), ids)
    assert math.isclose(score.loss_stderr, expected.loss_stderr, rel_tol=1e-4)
    assert (score.chars, score.bytes) == (LENGTHS.chars[ids].sum(), LENGTHS.bytes[ids].sum())


def test_fraction_of_records_is_distributed_over_the_text(make_model) -> None:
    """A quarter of the records is every fourth one."""
    model = make_model()
    ids = np.ravel([[n // 40 + 1, 0] for n in range(400)])
    every_fourth = np.ravel(ids.reshape(-1, 2)[::4])
    part = sum(record_scores(model, ids, LENGTHS, 0, 0.25), Score())
    expected = sum(record_scores(model, every_fourth, LENGTHS, 0), Score())

    assert part.tokens == expected.tokens == 200
    assert math.isclose(part.nats, expected.nats, rel_tol=1e-6)


def test_memory_of_windows_is_that_of_a_few_integers_each(make_model, ids) -> None:
    """An object for each of 10,000 windows would take 2 MB."""
    tokens = np.tile(ids, 20)
    tracemalloc.start()
    score = evaluate_windows(make_model(), tokens, LENGTHS, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert score.tokens == len(tokens) - 1
    assert peak < 1_500_000


def test_other_targets_can_be_scored(make_model, ids) -> None:
    """This holds for both methods; negative targets are not scored."""
    model, tokens = make_model(), ids.astype(int).tolist()
    targets = np.roll(ids, 3).astype(int)
    carried = plain_nats(model, [3, *tokens[:-1]], targets)
    windows = plain_nats(model, tokens[:-1], targets[1:])
    masked = np.where(np.arange(len(ids)) == 0, -1, targets)

    score = evaluate_carried(model, ids, LENGTHS, 3, targets=masked)
    assert score.tokens == len(ids) - 1
    assert math.isclose(score.nats, carried[1:].sum(), rel_tol=1e-5)
    score = evaluate_windows(model, ids, LENGTHS, len(ids), targets=masked)
    assert math.isclose(score.nats, windows.sum(), rel_tol=1e-5)


def test_unk_is_fed_and_counted_but_not_scored(make_model, ids) -> None:
    """<unk> is not included in loss, characters and bytes, and is counted in `unknown`."""
    model = make_model()
    lengths = TokenLengths(LENGTHS.chars, LENGTHS.bytes, unk_id=4)
    score = evaluate_carried(model, ids, lengths, 0)

    tokens = ids.astype(int)
    nats = plain_nats(model, [0, *tokens[:-1].tolist()], tokens.tolist())
    assert score.unknown == (tokens == 4).sum() > 0
    assert score.tokens == (tokens != 4).sum()
    assert math.isclose(score.nats, nats[tokens != 4].sum(), rel_tol=1e-5)
    assert score.chars == lengths.chars[tokens[tokens != 4]].sum()


def test_evaluation_does_not_change_mode_weights_or_random_state(make_model, ids) -> None:
    """Training continues as without the evaluation."""
    model = make_model(between=0.5).train()
    weights = [t.clone() for t in model.named_tensors().values()]
    random = torch.get_rng_state()
    evaluate_carried(model, ids, LENGTHS, 0, streams=3)

    assert model.training
    assert torch.equal(random, torch.get_rng_state())
    assert all(
        torch.equal(a, b) for a, b in zip(weights, model.named_tensors().values(), strict=True)
    )


def test_carried_pass_yields_the_score_of_each_chunk(make_model, ids) -> None:
    """The sum of the scores is the score of the text."""
    model = make_model()
    scores = list(carried_scores(model, ids, LENGTHS, 0))

    assert [score.tokens for score in scores] == [CHUNK] * 3 + [len(ids) - 3 * CHUNK, 0]
    assert sum(scores, Score()) == evaluate_carried(model, ids, LENGTHS, 0)


def test_model_can_be_trained_between_two_chunks(make_model, ids) -> None:
    """The caller sees neither evaluation mode nor inference mode, during or after a pass."""
    model = make_model(between=0.5).train()
    scores = carried_scores(model, ids, LENGTHS, 0)
    for _ in range(2):
        next(scores)
        assert model.training
        assert not torch.is_inference_mode_enabled()
        logits, _ = model(torch.from_numpy(ids[None, :9].astype(int)), model.initial_state(1))
        logits.sum().backward()
    scores.close()

    assert not torch.is_inference_mode_enabled()
    assert model.training


def test_loss_of_an_empty_text_is_nan(make_model) -> None:
    """It is not an error."""
    score = evaluate_carried(make_model(), np.array([], np.uint8), LENGTHS, 0)

    assert score.tokens == 0
    assert math.isnan(score.loss)


def test_default_streams_increase_with_the_text_up_to_a_limit() -> None:
    """A short text is read in one stream, and no text in more than 64."""
    assert default_streams(100) == 1
    assert default_streams(111_540) > 8
    assert default_streams(10**9) == 64


def test_bfloat16_loss_is_within_0_003_nats_of_float32() -> None:
    """The network is trained, so that its loss is well below that of a uniform model."""
    text = np.frombuffer(("the lamp on the stair will not stay lit, " * 60).encode(), np.uint8)
    symbols, tokens = np.unique(text, return_inverse=True)
    torch.manual_seed(1)
    shape = ModelConfig(cell="lstm", hidden_size=64, embedding_dim=32, vocab_size=len(symbols))
    model = LanguageModel(shape)
    tokens = np.where(np.random.default_rng(1).random(len(tokens)) < 0.1, 0, tokens)
    config = TrainConfig(batch_size=8, bptt=32, steps=60, lr=1e-2)
    training = TrainLoop(model, SequentialSampler(tokens, 8, 32, 1), config, BFLOAT16)
    list(train(training))
    lengths = TokenLengths(np.ones(len(symbols), np.int64), np.ones(len(symbols), np.int64), None)
    exact = evaluate_carried(model, tokens, lengths, 0, streams=4, warm_up=64)
    with BFLOAT16.autocast():
        rounded = evaluate_carried(model, tokens, lengths, 0, streams=4, warm_up=64)

    assert exact.loss < 1.5 < np.log(len(symbols))
    assert 0 < abs(rounded.loss - exact.loss) < 0.003
