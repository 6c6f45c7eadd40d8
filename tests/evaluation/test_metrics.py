"""Scores: addition, and the formulas of the metrics with worked numbers."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.evaluation.metrics import (
    MIN_BLOCKS,
    BlockSums,
    Score,
    TokenLengths,
    bits,
    mask_unknown,
    perplexity,
)
from charnn.tokenizers.unknown_model import UnknownCost

ONES = TokenLengths(np.ones(1, int), np.ones(1, int), None)
COUNTS = st.integers(1, 10**6)


def test_metrics_of_a_fair_coin() -> None:
    """The loss is ln 2 nats, the perplexity 2, and one bit per character."""
    score = Score(nats=10 * math.log(2), tokens=10, chars=10, bytes=20)

    assert math.isclose(score.loss, math.log(2))
    assert math.isclose(score.perplexity, 2)
    assert math.isclose(score.bits_per_char, 1)
    assert math.isclose(score.bits_per_byte, 0.5)
    assert math.isnan(score.loss_stderr)


def test_loss_stderr_is_the_standard_error_of_the_mean() -> None:
    """For nats 1 and 3 in two blocks it is their sample standard deviation divided by √2."""
    score = ONES.score(np.array([1.0, 3.0]), np.array([0, 0]))

    assert math.isclose(score.loss_stderr, math.sqrt(2) / math.sqrt(2))


def autoregressive(random, length, persistence):
    """Return numbers of mean 0 whose correlation decreases by `persistence` per step."""
    noise = random.normal(size=length) * math.sqrt(1 - persistence**2)
    numbers = np.empty(length)
    numbers[0] = random.normal()
    for index in range(1, length):
        numbers[index] = persistence * numbers[index - 1] + noise[index]
    return numbers


@pytest.mark.parametrize("persistence", [0.0, 0.9, 0.97])
def test_interval_of_two_standard_errors_covers_the_mean_of_correlated_tokens(persistence) -> None:
    """The 95 % interval covers it in 90 to 99 % of 200 texts of 20,000 tokens."""
    random = np.random.default_rng(1)
    ids, covered = np.zeros(20_000, np.uint8), 0
    for _ in range(200):
        nats = 2.0 + autoregressive(random, len(ids), persistence)
        score = ONES.score(nats, ids)
        covered += abs(score.loss - 2.0) < 1.96 * score.loss_stderr

    assert 0.90 <= covered / 200 <= 0.99


@given(st.integers(1, 300), st.integers(1, 50), st.randoms(use_true_random=False))
def test_standard_error_does_not_depend_on_the_order_of_the_parts(length, part, random) -> None:
    """Positions decide which block a token belongs to: by hand, from the blocks."""
    nats = np.random.default_rng(length).exponential(size=length)
    sums, order = BlockSums(length), list(range(length))
    random.shuffle(order)
    for first in range(0, length, part):
        some = np.array(order[first : first + part])
        sums.add(some, nats[some])
    score = Score(nats=float(nats.sum()), tokens=length, blocks=sums.moments())
    size = max(1, length // MIN_BLOCKS)
    parts = [nats[first : first + size] for first in range(0, length, size)]
    squares = sum((float(p.sum()) - score.loss * len(p)) ** 2 for p in parts)

    if len(parts) > 1:
        expected = math.sqrt(squares * len(parts) / (len(parts) - 1)) / length
        assert math.isclose(score.loss_stderr, expected, rel_tol=1e-6, abs_tol=1e-9)


@given(st.floats(0, 1e6), COUNTS, COUNTS, st.floats(0, 1e6), COUNTS, COUNTS)
def test_sum_of_scores_is_the_weighted_mean(n1, t1, c1, n2, t2, c2) -> None:
    """The loss of a sum is the mean of the losses weighted by tokens."""
    a, b = Score(n1, t1, c1, c1), Score(n2, t2, c2, c2)

    assert math.isclose((a + b).loss, (a.loss * t1 + b.loss * t2) / (t1 + t2), abs_tol=1e-9)


def test_negative_targets_are_ignored_and_unk_is_counted() -> None:
    """The nats of neither are used; id 2 is <unk>."""
    cost = UnknownCost(chars=3.0, nats=7.0, known=0.25)
    lengths = TokenLengths(np.array([1, 2, 1]), np.array([1, 4, 3]), unk_id=2, unknown=cost)
    nats = np.array([0.5, 1.5, math.nan, math.nan, 7.0])
    score = lengths.score_part(nats, np.array([0, 1, -1, 2, -100]))

    assert score == Score(
        nats=2.0,
        tokens=2,
        chars=3,
        bytes=5,
        unknown=1,
        unknown_chars=3.0,
        charge=7.0 + 2 * 0.25,
    )
    assert score.coverage == 3 / (3 + 3)
    assert math.isclose(score.bits_per_char_all, (2.0 + 7.5) / 6 / math.log(2))
    assert score.comparable_bits == score.bits_per_char_all


def test_metrics_of_all_characters_need_the_cost_of_unknown_tokens() -> None:
    """They are NaN without it, unless the tokenizer has no <unk>; then they are the others."""
    ids, nats = np.array([0, 1]), np.array([1.0, 2.0])
    with_unk = TokenLengths(np.ones(2, int), np.ones(2, int), unk_id=1).score(nats, ids)
    without = TokenLengths(np.ones(2, int), np.ones(2, int), unk_id=None).score(nats, ids)

    assert math.isnan(with_unk.coverage)
    assert math.isnan(with_unk.bits_per_char_all)
    assert with_unk.comparable_bits == with_unk.bits_per_char
    assert (without.coverage, without.bits_per_char_all) == (1.0, without.bits_per_char)


def test_repr_shows_the_coverage_of_unknown_tokens() -> None:
    """Only if there are any."""
    known = Score(nats=math.log(2), tokens=1, chars=3, bytes=3)
    unknown = dataclasses.replace(known, unknown=1, unknown_chars=1, charge=3 * math.log(2))

    assert "coverage=75.0%, bits_per_char_all=1.0000, " in repr(unknown)
    assert "coverage" not in repr(known)


def test_mask_unknown_replaces_unk_by_a_negative_target() -> None:
    """It accepts any integer dtype; without <unk> the targets are unchanged."""
    ids = np.array([3, 0, 3, 1], np.uint8)

    assert mask_unknown(ids, 3).tolist() == [-1, 0, -1, 1]
    assert mask_unknown(ids, None).tolist() == [3, 0, 3, 1]


def test_perplexity_overflows_to_infinity() -> None:
    """exp(loss) above the largest float is inf, not an error."""
    assert perplexity(1e4) == math.inf


def test_metrics_of_no_tokens_are_nan() -> None:
    """There is no division by zero."""
    assert math.isnan(Score().loss)
    assert math.isnan(Score().loss_stderr)
    assert math.isnan(bits(1.0, 0))
