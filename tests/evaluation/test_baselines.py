"""Baselines compared with worked examples, brute force, and sources of known entropy."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.evaluation.baselines import (
    evaluate_baselines,
    kneser_ney_nats,
    unigram,
    unigram_nats,
    xz_bits,
)
from charnn.tokenizers.char import CharTokenizer


def brute_force(train, held_out, vocab_size, order, record_end=None):
    """Compute interpolated Kneser-Ney from its definition, with dictionaries."""
    start, text = [None] * order, [*train, *held_out]
    before = []  # the tokens up to each position of the text, after the start of its record
    for i in range(len(text)):
        is_start = i == 0 or text[i - 1] == record_end
        before.append([*(start if is_start else before[-1]), text[i]])
    grams = {
        k: Counter(tuple(tokens[-k:]) for tokens in before[: len(train)])
        for k in range(1, order + 1)
    }
    counts = {order: grams[order]}
    for k in range(1, order):
        counts[k] = Counter(gram[1:] for gram in grams[k + 1])

    def discount(k):
        once, twice = (sum(1 for c in counts[k].values() if c == x) for x in (1, 2))
        return once / (once + 2 * twice) if once else 0.5

    def probability(gram):
        k = len(gram)
        if k == 0:
            return 1 / vocab_size
        context = {g: c for g, c in counts[k].items() if g[:-1] == gram[:-1]}
        total = sum(context.values())
        lower = probability(gram[1:])
        if not total:
            return lower
        d = discount(k)
        return max(counts[k][gram] - d, 0) / total + d * len(context) / total * lower

    return [-math.log(probability(tuple(tokens[-order:]))) for tokens in before[len(train) :]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.lists(st.integers(0, 3), min_size=1, max_size=10),
    st.integers(1, 4),
    st.sampled_from([None, 0, 1]),
)
def test_kneser_ney_agrees_with_its_definition(train, held_out, order, end) -> None:
    """Every probability equals that of a slow implementation with dictionaries.

    In records, which end with a token, no context extends across the end.
    """
    actual = kneser_ney_nats(np.array(train), np.array(held_out), 4, order, end)

    np.testing.assert_allclose(actual, brute_force(train, held_out, 4, order, end), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 4))
def test_kneser_ney_probabilities_sum_to_one(train, order) -> None:
    """The sum is over all possible next tokens."""
    nats = [kneser_ney_nats(np.array(train), np.array([w]), 4, order)[0] for w in range(4)]

    assert math.isclose(sum(math.exp(-n) for n in nats), 1)


def test_kneser_ney_worked_example() -> None:
    """After "a b a b a", p(b | a) is (2 - D) / 2 plus the weight of the unigram model."""
    nats = kneser_ney_nats(np.array([0, 1, 0, 1, 0]), np.array([1]), 2, 2)
    # Bigrams: (start a) once, (a b) twice, (b a) twice, so D = 1 / (1 + 2·2) = 0.2. Continuation
    # counts: b occurs only after a, so 1; a occurs after start and b, so 2. D' = 1 / (1 + 2) = 1/3
    # and p'(b) = (1 - 1/3)/3 + (1/3 · 2/3) / 2.
    lower = (1 - 1 / 3) / 3 + (1 / 3) * 2 / 3 / 2

    assert math.isclose(math.exp(-nats[0]), (2 - 0.2) / 2 + 0.2 * 1 / 2 * lower)


def test_unigram_has_add_one_smoothing() -> None:
    """A symbol that did not occur has a positive probability."""
    np.testing.assert_allclose(np.exp(unigram(np.array([4, 2, 1, 0]))), np.array([5, 3, 2, 1]) / 11)


def test_ngram_loss_is_the_entropy_of_independent_symbols() -> None:
    """Unigram and 3-gram models reach the entropy of such a source within 2 %."""
    random = np.random.default_rng(1)
    text = random.choice(3, size=50_000, p=[0.7, 0.2, 0.1])
    entropy = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1))

    assert unigram_nats(text[:40_000], text[40_000:], 3).mean() == pytest.approx(entropy, rel=0.02)
    assert kneser_ney_nats(text[:40_000], text[40_000:], 3, 3).mean() == pytest.approx(
        entropy, rel=0.02
    )


def test_xz_needs_few_bits_for_repetition_and_eight_per_random_byte() -> None:
    """Repeated text needs under 0.8 bits per byte, and random text about 8."""
    noise = np.random.default_rng(1).bytes(20_000)

    assert xz_bits(noise, noise[:5000]) < 0.1 * 8 * 5000
    assert xz_bits(noise[:15_000], noise[15_000:]) == pytest.approx(8 * 5000, rel=0.02)


def test_baselines_use_a_limited_part_of_long_texts(monkeypatch) -> None:
    """They use the end of the training text and the start of the held-out text."""
    monkeypatch.setattr("charnn.evaluation.baselines.MAX_TRAIN_TOKENS", 1000)
    monkeypatch.setattr("charnn.evaluation.baselines.MAX_SCORED_TOKENS", 200)
    text = np.random.default_rng(1).integers(4, size=5000)
    tokenizer = CharTokenizer.build("abcd")

    assert evaluate_baselines(text[:4000], text[4000:], tokenizer) == evaluate_baselines(
        text[3000:4000], text[4000:4200], tokenizer
    )


def test_baselines_do_not_score_out_of_vocabulary_characters() -> None:
    """The result does not change with them, and is NaN if there are no others."""
    tokenizer = CharTokenizer.build("abab")
    train, unknown = tokenizer.encode("ab" * 500).ids, tokenizer.encode("x" * 50).ids
    known = evaluate_baselines(train, tokenizer.encode("ab" * 50).ids, tokenizer)
    mixed = evaluate_baselines(train, tokenizer.encode("ab" * 50 + "x" * 50).ids, tokenizer)

    assert mixed == known
    assert all(math.isnan(rate) for rate in evaluate_baselines(train, unknown, tokenizer).values())
