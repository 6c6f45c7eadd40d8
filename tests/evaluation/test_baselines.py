"""Baselines compared with worked examples, brute force, and sources of known entropy."""

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.config import PrepareConfig
from charnn.evaluation.baselines import (
    evaluate_baselines,
    kneser_ney_nats,
    unigram,
    unigram_nats,
    xz_bits,
)
from charnn.evaluation.metrics import TokenLengths
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.tokenizer import VocabularyOptions
from charnn.tokenizers.words import WordTokenizer
from tests.tiny import make_dataset
from tests.tokenizers.slow_spelling import SlowSpelling


def brute_force(train, held_out, vocab_size, order, unk_id=None, record_end=None):
    """Compute interpolated Kneser-Ney from its definition, with dictionaries."""
    start, text = [None] * order, [*train, *held_out]
    before = []  # the tokens up to each position of the text, after the start of its record
    for i in range(len(text)):
        is_start = i == 0 or text[i - 1] == record_end
        before.append([*(start if is_start else before[-1]), text[i]])
    grams = {
        k: Counter(tuple(tokens[-k:]) for tokens in before[: len(train)] if tokens[-1] != unk_id)
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
    st.none() | st.just(3),
    st.sampled_from([None, 0, 1]),
)
def test_kneser_ney_agrees_with_its_definition(train, held_out, order, unk_id, end) -> None:
    """Every probability equals that of a slow implementation with dictionaries.

    <unk> is a context, but not counted as a token. In records, which end with a token, no context
    extends across the end.
    """
    actual = kneser_ney_nats(np.array(train), np.array(held_out), 4, order, unk_id, end)
    expected = brute_force(train, held_out, 4, order, unk_id, end)

    np.testing.assert_allclose(actual, expected, rtol=1e-9)


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
    known = tokenizer.pieces, TokenLengths.of(tokenizer)

    assert evaluate_baselines(text[:4000], text[4000:], *known) == evaluate_baselines(
        text[3000:4000], text[4000:4200], *known
    )


def test_unknown_tokens_without_a_cost_are_left_out() -> None:
    """The result does not change with them, and is NaN if there are no others."""
    tokenizer = CharTokenizer.build("abab")
    known = tokenizer.pieces, TokenLengths.of(tokenizer)
    train, unknown = tokenizer.encode("ab" * 500).ids, tokenizer.encode("x" * 50).ids
    without = evaluate_baselines(train, tokenizer.encode("ab" * 50).ids, *known)
    mixed = evaluate_baselines(train, tokenizer.encode("ab" * 50 + "x" * 50).ids, *known)

    assert mixed == without
    assert all(math.isnan(rate) for rate in evaluate_baselines(train, unknown, *known).values())


@pytest.mark.parametrize("min_count", [1, 2])
def test_all_of_the_text_is_charged(tmp_path, min_count) -> None:
    """Each row agrees with a slow computation from the words of the text."""
    train = " the sea the lamp the sea a lamp a sea the stair the keeper" * 3 + " and a gull once"
    val = " the lamp a gull the ship and the keeper the ships"
    tokenizer = WordTokenizer.build(train, VocabularyOptions(min_count=min_count))
    config = PrepareConfig(tokenizer="word", min_count=min_count)
    dataset = make_dataset(tmp_path / "d", {"train": train, "val": val}, tokenizer, config)
    lengths = TokenLengths.of(tokenizer, dataset.unknown_cost("val"))
    ids, held_out = dataset.split("train"), dataset.split("val")
    rows = evaluate_baselines(ids, held_out, tokenizer.pieces, lengths)

    words, counts = (re.findall(r" \w+", text) for text in (train, val)), Counter[str]()
    train_words, val_words = words
    counts.update(train_words)
    vocabulary = {word for word in counts if counts[word] >= min_count}
    rare = [word for word in counts if counts[word] <= min_count]
    p_unk = sum(counts[word] for word in rare) / len(train_words)
    spelling = SlowSpelling(sorted(rare), ends=True)
    unknown = [word for word in val_words if word not in vocabulary]
    known = [word for word in val_words if word in vocabulary]
    charge = -sum(math.log(p_unk) - spelling.nats(word) for word in unknown)
    charge -= len(known) * math.log(1 - p_unk)
    total = sum(counts[word] for word in vocabulary) + len(vocabulary) + 1
    nats = brute_force(ids.tolist(), held_out.tolist(), len(tokenizer.pieces), 5, tokenizer.unk_id)
    expected = {
        "unigram": -sum(math.log((counts[word] + 1) / total) for word in known),
        "5-gram": sum(n for n, word in zip(nats, val_words, strict=True) if word in vocabulary),
        "xz": math.log(2)
        * xz_bits(
            "".join(word if word in vocabulary else "\ufffd" for word in train_words).encode(),
            "".join(known).encode(),
        ),
    }

    assert unknown
    assert rows == {
        name: pytest.approx((nats + charge) / math.log(2) / len(val))
        for name, nats in expected.items()
    }
