"""Out-of-vocabulary symbols: their probability, their spelling, and what is stored of them."""

import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.errors import DataError
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.tokenizer import VocabularyOptions
from charnn.tokenizers.unknown_model import (
    BEGIN,
    END,
    MAX_BYTES,
    ORDER,
    OUTCOMES,
    UnknownModel,
    cost_of,
)
from charnn.tokenizers.words import WordTokenizer
from tests.tokenizers.slow_spelling import SlowSpelling

SYMBOLS = st.text(alphabet="abé中", min_size=1, max_size=6)
EXAMPLES = st.lists(SYMBOLS, max_size=12, unique=True)


def fitted(tokenizer, text, min_count=1) -> UnknownModel:
    """Return the model of a training text."""
    encoded = tokenizer.encode(text)
    counts = np.bincount(encoded.ids, minlength=tokenizer.vocab_size)
    counts[tokenizer.unk_id] = 0
    unknown = {symbol: len(offsets) for symbol, offsets in encoded.unknown.items()}
    model = UnknownModel.fit(tokenizer, counts, unknown, min_count)
    assert model
    return model


@settings(deadline=None, max_examples=40)
@given(EXAMPLES, st.lists(SYMBOLS, min_size=1, max_size=5), st.booleans())
def test_spelling_agrees_with_its_definition(examples, symbols, ends) -> None:
    """-ln p(<unk>) and that of each byte, by dictionaries of n-grams."""
    slow = SlowSpelling(examples, ends=ends)
    model = UnknownModel(0.125, examples, ends=ends)

    for _ in range(2):  # the second time from memory
        expected = [math.log(8) + slow.nats(symbol) for symbol in symbols]
        np.testing.assert_allclose(model.nats(symbols), expected, rtol=1e-9)


@settings(deadline=None, max_examples=30)
@given(EXAMPLES, st.binary(max_size=6))
def test_probabilities_of_the_next_byte_sum_to_one(examples, before) -> None:
    """After any bytes, over all 256, one of which is the end."""
    slow = SlowSpelling(examples, ends=True)
    context = (bytes([BEGIN]) * ORDER + before)[-(ORDER - 1) :]

    assert math.isclose(sum(slow.p(context + bytes([byte])) for byte in range(OUTCOMES)), 1)


def test_spellings_are_a_distribution_over_strings() -> None:
    """Those of at most three letters, and those that begin with four letters or another byte."""
    examples = ["a", "ab", "b", "aab", "bba", "abab"]
    model, slow = UnknownModel(0.5, examples, ends=True), SlowSpelling(examples, ends=True)
    strings = ["".join(s) for n in range(1, 4) for s in itertools.product("ab", repeat=n)]
    complete = np.exp(-model.nats(strings)).sum() / model.probability

    def begun(prefix: bytes) -> float:
        """Return the probability of all strings that begin so."""
        text = bytes([BEGIN]) * (ORDER - 1) + prefix
        return math.prod(slow.p(text[i : i + ORDER]) for i in range(len(prefix)))

    letters = [bytes(s) for n in range(4) for s in itertools.product(b"ab", repeat=n)]
    others = [byte for byte in range(OUTCOMES) if byte not in b"ab" and byte != END]
    rest = sum(begun(prefix + bytes([byte])) for prefix in letters for byte in others)
    rest += sum(begun(bytes(s)) for s in itertools.product(b"ab", repeat=4))
    empty = begun(bytes([END]))

    assert complete > 0.2
    assert math.isclose(complete + rest + empty, 1)


def test_characters_are_a_distribution_without_an_end() -> None:
    """The first byte of a character determines its length: all of the first plane sum to 1."""
    model = UnknownModel(0.5, ["é", "è", "中", "a"], ends=False)
    plane = [chr(code) for code in range(0xFFFF) if not 0xD800 <= code < 0xE000]
    total = np.exp(-model.nats(plane)).sum() / model.probability

    assert 0.1 < total <= 1


@given(st.text(alphabet="abcdef", min_size=2, max_size=40), st.integers(1, 4))
def test_probability_is_that_of_a_token_left_out(text, min_count) -> None:
    """Good–Turing: how many tokens are out of vocabulary if it is built without them."""
    options = VocabularyOptions(min_count=min_count)
    model = fitted(CharTokenizer.build(text, options), text, min_count)
    outside = 0
    for i, character in enumerate(text):
        others = CharTokenizer.build(text[:i] + text[i + 1 :], options)
        outside += character.encode() not in others.pieces[:-1]

    expected = min(max(outside, 0.5), len(text) - 0.5) / len(text)
    assert math.isclose(model.probability, expected)


def test_probability_is_the_fraction_of_singletons() -> None:
    """If the vocabulary has all symbols; and never 0 or 1."""
    assert fitted(CharTokenizer.build("aabbbcde"), "aabbbcde").probability == 3 / 8
    assert fitted(CharTokenizer.build("aabb"), "aabb").probability == 0.5 / 4
    assert fitted(CharTokenizer.build("abcd"), "abcd").probability == 3.5 / 4


def test_vocabulary_of_another_text_is_fixed() -> None:
    """Rare symbols that it has would not be out of vocabulary; those that it lacks are."""
    model = fitted(CharTokenizer.build("abc"), "abzz", min_count=None)

    assert model.probability == 2 / 4
    assert model.examples == ("z",)


def test_byte_tokenizers_have_no_unknown_symbols() -> None:
    """They encode every text."""
    assert UnknownModel.fit(ByteTokenizer(), np.ones(256, np.int64), {}, 1) is None


def test_examples_are_rare_symbols() -> None:
    """Words of a single occurrence, or those that are out of vocabulary or nearly so."""
    text = " a a a b b c c d e"
    full, cut = (
        fitted(WordTokenizer.build(text, VocabularyOptions(min_count=n)), text, n) for n in (1, 2)
    )

    assert (full.examples, full.probability) == ((" d", " e"), 2 / 9)
    assert (cut.examples, cut.probability) == ((" b", " c", " d", " e"), 6 / 9)


def test_limited_vocabulary_has_more_unknown_tokens_than_singletons() -> None:
    """Those of symbols outside, and of symbols that occur once more than these at most."""
    text = "a" * 9 + "b" * 4 + "c" * 3 + "d" * 2 + "e"
    model = fitted(CharTokenizer.build(text, VocabularyOptions(vocab_size=4)), text)

    assert (model.examples, model.probability) == (("c", "d", "e"), 6 / 19)


def test_stored_examples_are_bounded_and_unbiased() -> None:
    """64 KiB at most; among equally frequent ones, all first letters keep their share."""
    words = ["".join(w) for w in itertools.product("abcdefg", repeat=5)]
    model = fitted(WordTokenizer.build("\n".join(words)), "\n".join(words))
    stored = model.to_json()["symbols"]
    shares = Counter(word[0] for word in model.examples)

    assert 0.99 * MAX_BYTES < len(stored.encode()) <= MAX_BYTES
    assert max(shares.values()) < 1.1 * min(shares.values())


def test_symbols_that_cannot_be_stored_are_not_examples() -> None:
    """Lone surrogates have no UTF-8, and a newline separates the examples."""
    tokenizer = CharTokenizer.build("abc\nddd")
    assert fitted(tokenizer, "abc\nddd\udcff").examples == ("a", "b", "c")


@given(EXAMPLES, st.floats(1e-9, 0.99), st.sampled_from([CharTokenizer, WordTokenizer]))
def test_model_is_read_back_from_json(examples, probability, kind) -> None:
    """The probabilities are bit-identical."""
    tokenizer = kind.build("ab")
    model = UnknownModel(probability, examples, ends=not tokenizer.tokens_are_chars)
    again = UnknownModel.from_json(json.loads(json.dumps(model.to_json())), tokenizer)

    assert again.to_json() == model.to_json()
    assert np.array_equal(again.nats(["é", "ab"]), model.nats(["é", "ab"]))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"probability": 0.5},
        {"probability": 0.0, "symbols": ""},
        {"probability": 1.0, "symbols": ""},
        {"probability": math.inf, "symbols": ""},
        {"probability": True, "symbols": ""},
        {"probability": 0.5, "symbols": ["a"]},
        {"probability": 0.5, "symbols": "a" * (MAX_BYTES + 1)},
    ],
)
def test_damaged_model_is_a_data_error(value) -> None:
    """Before any memory is allocated for it."""
    with pytest.raises(DataError, match="unknown symbols"):
        UnknownModel.from_json(value, CharTokenizer.build("ab"))


def test_any_number_of_symbols_is_spelled(monkeypatch) -> None:
    """In batches; few of them are kept."""
    monkeypatch.setattr("charnn.tokenizers.unknown_model.BATCH", 7)
    monkeypatch.setattr("charnn.tokenizers.unknown_model.MAX_KNOWN", 20)
    model = UnknownModel(0.5, ["ab"], ends=True)
    symbols = [f"{i}" for i in range(50)]
    whole = UnknownModel(0.5, ["ab"], ends=True).nats(symbols)

    assert np.array_equal(model.nats(symbols), whole)
    assert np.array_equal(model.nats([*symbols[:3], "new"])[:3], whole[:3])
    assert len(model._known) == 4


def test_cost_of_a_text_is_a_mean_over_its_unknown_tokens() -> None:
    """In characters and nats, weighted by the counts; without a model only in characters."""
    model = UnknownModel(0.25, ["abc"], ends=True)
    nats = model.nats(["ab", "xyz"])
    cost = cost_of({"ab": 3, "xyz": 1}, model)

    assert cost.chars == (3 * 2 + 3) / 4
    assert math.isclose(cost.nats, (3 * nats[0] + nats[1]) / 4)
    assert math.isclose(cost.known, -math.log(0.75))
    assert cost_of({"ab": 3, "xyz": 1}, None)[0] == cost.chars
    assert math.isnan(cost_of({"ab": 3}, None).nats)
