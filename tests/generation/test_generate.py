"""Generation: batches of samples, stop strings, constraints, decoding, saved contexts."""

import itertools
import math
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import SampleConfig
from charnn.errors import UsageError
from charnn.generation.constraints import constrain
from charnn.generation.generate import (
    BATCH,
    SAMPLE_RECORDS,
    Request,
    Sample,
    encode_prompt,
    feed,
    generate,
    generate_text,
    initial_context,
    sample_text,
)
from charnn.model.model_file import ModelFile
from charnn.model.numpy_model import NumpyModel, NumpyStreams
from charnn.model.softmax import target_log_probs
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.char import CharTokenizer
from tests.tiny import Vocabulary, random_tensors, tiny_config, tiny_model

SYMBOLS = "abcde .\né"
REPLACEMENT = b"\xef\xbf\xbd"


def characters(symbols):
    """Return a tokenizer of these characters, with <unk> as the last token."""
    pieces = [*(symbol.encode() for symbol in symbols), REPLACEMENT]
    return CharTokenizer(pieces, unk_id=len(symbols))


LETTERS = characters(SYMBOLS)
BYTES = ByteTokenizer()
LETTER_MODEL = tiny_model("lstm", 2, vocab_size=LETTERS.vocab_size, hidden_size=16)
BYTE_MODEL = tiny_model("gru", 1, vocab_size=256, hidden_size=16)


def sampled(
    vocabulary=LETTERS,
    network=LETTER_MODEL,
    context=None,
    rules=None,
    in_flight=BATCH,
    **options,
):
    """Return (texts, ends) of all samples; check the order of events; `raw` keeps all bytes."""
    errors = "surrogateescape" if options.pop("raw", False) else "replace"
    fields = {key: options.pop(key) for key in list(options) if key in SampleConfig.model_fields}
    request = Request(
        config=SampleConfig(**{"temperature": 1.0, "max_new_tokens": 40} | fields),
        constraint=constrain(vocabulary.pieces, vocabulary.unk_id, **(rules or {})),
        **{"seed": 5} | options,
    )
    texts, ends = [""], []
    context = context or initial_context(network, 0)
    for event in generate(network, vocabulary, request, context, in_flight):
        assert event.index == len(ends)
        if isinstance(event, Sample):
            ends.append(event)
            texts.append("")
        else:
            assert event.data
            texts[-1] += event.data.decode("utf-8", errors)
    assert texts.pop() == ""
    return texts, ends


def constant(logits):
    """Return a network with the same logits for every input."""
    config = tiny_config("rnn", vocab_size=len(logits))
    tensors = {name: 0 * tensor for name, tensor in random_tensors(config).items()}
    return NumpyModel(config, {**tensors, "output.bias": np.array(logits, np.float32)})


def test_sample_does_not_depend_on_the_number_of_samples() -> None:
    """Sample i is the same for any number of samples and any batch size."""
    many, _ = sampled(samples=150)
    few, _ = sampled(samples=70)
    narrow, _ = sampled(samples=150, in_flight=3)

    assert many[:70] == few
    assert many == narrow
    assert len(set(many)) == 150


def test_samples_of_different_lengths_in_a_batch() -> None:
    """Samples in a batch equal those generated one at a time."""
    options = {"samples": 60, "stop": ("\n", "a b")}
    together, ends = sampled(**options)
    alone, alone_ends = sampled(**options, in_flight=1)

    assert together == alone
    assert [end.tokens for end in ends] == [end.tokens for end in alone_ends]
    assert len({end.tokens for end in ends}) > 10


class ReadOnlyStreams(NumpyStreams):
    """Streams whose logits cannot be changed by the caller."""

    def predict(self):
        """Return the logits as a read-only array."""
        logits = super().predict()
        logits.flags.writeable = False
        return logits


class ReadOnlyModel(NumpyModel):
    """A model with read-only streams."""

    def streams(self, state):
        """Return B streams that start from a copy of `state`."""
        return ReadOnlyStreams(self, state)


def test_logits_of_the_model_are_not_modified() -> None:
    """This holds when finished samples are replaced and when their rows are removed."""
    config = tiny_config("lstm", 2, vocab_size=LETTERS.vocab_size, hidden_size=16)
    model = ReadOnlyModel(config, random_tensors(config))
    options = {"samples": BATCH + 20, "stop": ("a",)}

    assert sampled(network=model, **options)[0] == sampled(**options)[0]


@pytest.mark.parametrize("limit", [0, 1, 17])
def test_max_new_tokens_excludes_the_prompt(limit) -> None:
    """A sample has exactly this many new tokens."""
    context = feed(LETTER_MODEL, initial_context(LETTER_MODEL, 0), LETTERS.encode("abc").ids)
    texts, ends = sampled(context=context, max_new_tokens=limit, samples=3)

    assert [len(text) for text in texts] == [limit] * 3
    assert [(end.tokens, end.finish) for end in ends] == [(limit, "length")] * 3


def test_text_is_reproducible_by_seed() -> None:
    """The same seed gives the same text, and a different seed a different text."""
    assert sampled(seed=1)[0] == sampled(seed=1)[0] != sampled(seed=2)[0]


def test_tokens_follow_the_distribution_of_the_network() -> None:
    """The frequencies of 4,000 first tokens agree with the softmax of the logits."""
    prompt = LETTERS.encode("bad").ids
    texts, _ = sampled(
        context=feed(LETTER_MODEL, initial_context(LETTER_MODEL, 7), prompt),
        samples=4000, max_new_tokens=1, temperature=0.7,
    )  # fmt: skip
    streams = LETTER_MODEL.streams(LETTER_MODEL.initial_state())
    logits = streams.feed(np.array([[7, *prompt]]))[0, :-1].astype(float) / 0.7
    p = np.exp(logits) / np.exp(logits).sum()
    frequencies = np.array([texts.count(symbol) for symbol in SYMBOLS]) / 4000

    np.testing.assert_allclose(frequencies, p, atol=4 * math.sqrt(0.25 / 4000))


def test_temperature_zero_is_greedy() -> None:
    """The token with the largest logit is chosen with every seed."""
    streams = LETTER_MODEL.streams(LETTER_MODEL.initial_state())
    token, expected = 0, ""
    for _ in range(30):
        token = int(streams.step(np.array([token]))[0, :-1].argmax())
        expected += SYMBOLS[token]

    for temperature, seed in ((0, 1), (0, 2), (1e-9, 3)):
        assert sampled(temperature=temperature, seed=seed, max_new_tokens=30)[0] == [expected]


def test_unk_is_never_generated() -> None:
    """This holds even if <unk> has almost all of the probability."""
    texts, _ = sampled(characters("ab"), constant([0, 1, 50]), max_new_tokens=200, temperature=0.5)

    assert set(texts[0]) == {"a", "b"}


def test_banned_characters_are_not_generated() -> None:
    """This holds for tokens that are characters and for tokens that are bytes."""
    texts, _ = sampled(rules={"ban": "aé\n"}, max_new_tokens=300)
    letters, _ = sampled(BYTES, BYTE_MODEL, rules={"allow": "xé€"}, max_new_tokens=301)

    assert set(texts[0]) == set("bcde .")
    assert set(letters[0][:-1]) == set("xé€")


stops = st.lists(st.text("ab. \né", min_size=1, max_size=3), max_size=3).map(tuple)


@given(stops, st.integers(0, 50))
def test_text_ends_before_the_first_stop_string(stop, seed) -> None:
    """It is the text without stop strings, up to the stop string that ends first."""
    (full,), _ = sampled(seed=seed)
    (cut,), (end,) = sampled(seed=seed, stop=stop)
    ends = [(full.find(one) + len(one), -len(one)) for one in stop if one in full]
    at, length = min(ends, default=(len(full), 0))

    assert cut == full[: at + length]
    assert end.finish == ("stop" if ends else "length")
    assert end.tokens == at


PATTERNS = [
    "[a-c]+",
    "(ab|cd|é)*",
    r"\w{3,5}\.",
    "",
    ".",
    "a.{0,3}b",
    r"[^\s]{2}( \w+){1,2}\n?",
    "é?",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("greedy", [False, True], ids=["sampled", "greedy"])
def test_sample_that_finishes_with_match_matches(pattern, greedy) -> None:
    """The whole sample matches the pattern, for character and byte tokens."""
    for vocabulary, network in ((LETTERS, LETTER_MODEL), (BYTES, BYTE_MODEL)):
        texts, ends = sampled(
            vocabulary, network, rules={"match": pattern}, samples=50, raw=True,
            temperature=0 if greedy else 1,
        )  # fmt: skip
        for text, end in zip(texts, ends, strict=True):
            assert end.finish == "match" or end.tokens == 40
            assert bool(re.fullmatch(pattern, text)) or end.finish == "length"
        assert greedy or any(end.finish == "match" for end in ends)


def test_match_ends_with_the_probability_of_other_tokens() -> None:
    """With p = 1/2 for another letter, the length of `a*` has a geometric distribution."""
    texts, ends = sampled(Vocabulary([b"a", b"b"]), constant([0, 0]), samples=4000,
                          rules={"match": "a*"})  # fmt: skip
    frequencies = [sum(len(text) == length for text in texts) / 4000 for length in range(4)]

    np.testing.assert_allclose(frequencies, [1 / 2, 1 / 4, 1 / 8, 1 / 16], atol=0.03)
    assert {end.finish for end in ends} == {"match"}


@pytest.mark.parametrize("pattern", ["a{0,2}", "a", ""])
def test_record_is_cut_where_the_model_does_not_end_it(pattern) -> None:
    """The next token decides: a newline ends the record, and any other token would continue it."""
    vocabulary, network = Vocabulary([b"a", b"\n"]), constant([0, 0])
    options = {"samples": 2000, "rules": {"match": pattern}, "stop": ("\n",)}
    texts, ends = sampled(vocabulary, network, records=True, **options)
    longest = pattern.count("a") and max(map(len, texts))

    assert texts == sampled(vocabulary, network, **options)[0]
    assert all(end.finish == "match" for end in ends if end.tokens < longest)
    full = [end.finish for end in ends if end.tokens == longest]
    assert set(full) == {"match", "cut"}
    assert abs(full.count("cut") / len(full) - 1 / 2) < 0.1


def test_record_of_the_length_limit_is_cut() -> None:
    """No token is left for the end."""
    _, (end,) = sampled(rules={"match": "[a-e]{8}"}, max_new_tokens=8, records=True)

    assert end.finish == "cut"


def test_filters_apply_to_allowed_tokens_only() -> None:
    """top-k does not count tokens that cannot match."""
    texts, _ = sampled(Vocabulary([b"a", b"b", b"c"]), constant([0, 1, 9]),
                       rules={"match": "[ab]{5}"}, top_k=1)  # fmt: skip

    assert texts == ["bbbbb"]


def test_incomplete_match_finishes_with_length() -> None:
    """A match that is complete at the last token finishes with match."""
    _, (cut,) = sampled(rules={"match": "[a-e]{9}"}, max_new_tokens=8)
    _, (full,) = sampled(rules={"match": "[a-e]{8}"}, max_new_tokens=8)

    assert (cut.finish, full.finish) == ("length", "match")


def test_loss_does_not_depend_on_sampling_options() -> None:
    """The loss is in nats per token at temperature 1."""
    texts, ends = sampled(samples=3, temperature=0.5, top_k=4, loss=True)
    for text, end in zip(texts, ends, strict=True):
        ids = LETTERS.encode(text).ids.astype(int)
        streams = LETTER_MODEL.streams(LETTER_MODEL.initial_state())
        nats = -streams.log_probs(np.array([[0, *ids[:-1]]]), ids[None])

        assert end.loss == pytest.approx(nats.mean(), abs=1e-6)
    assert math.isnan(sampled()[1][0].loss)


def test_pieces_decode_to_the_decoded_bytes() -> None:
    """Bytes that are not UTF-8 become the same U+FFFD as in the decoded sample."""
    raw, _ = sampled(BYTES, BYTE_MODEL, samples=80, raw=True, max_new_tokens=60)
    clean, _ = sampled(BYTES, BYTE_MODEL, samples=80, max_new_tokens=60)
    for exact, replaced in zip(raw, clean, strict=True):
        data = exact.encode("utf-8", "surrogateescape")

        assert len(data) == 60
        assert replaced == data.decode("utf-8", "replace")


def test_piece_contains_complete_characters() -> None:
    """A character of several tokens is one piece; invalid bytes are output at once."""
    vocabulary = Vocabulary(["é".encode()[:1], "é".encode()[1:], b"\xff"])
    request = Request(
        SampleConfig(temperature=1.0, max_new_tokens=100), constrain(vocabulary.pieces), seed=1
    )
    network = constant([0, 0, 0])
    events = list(generate(network, vocabulary, request, initial_context(network, 0)))
    pieces = [event.data for event in events if not isinstance(event, Sample)]
    data = b"".join(pieces)

    assert len(pieces) > 50
    assert "é".encode() in pieces
    assert b"\xff" in pieces
    assert sum(piece.count("é".encode()) for piece in pieces) == data.count("é".encode())
    assert "".join(p.decode("utf-8", "replace") for p in pieces) == data.decode("utf-8", "replace")


def test_stop_string_can_span_byte_tokens() -> None:
    """Tokens that form the stop character end the text, and none of its bytes is output."""
    vocabulary = Vocabulary([b"\xc3", b"\xa9", b"x"])
    texts, ends = sampled(vocabulary, constant([0, 0, 0]), stop=("é",), samples=200)
    for text, end in zip(texts, ends, strict=True):
        assert "é" not in text
        assert end.finish == "stop" or end.tokens == 40


def penalized_greedy(logits, penalty, context, count):
    """Return greedy tokens with the penalty, by its definition."""
    context = list(context)
    for _ in range(count):
        recent = set(context[-64:])
        after = [
            (logit / penalty if logit > 0 else logit * penalty) if token in recent else logit
            for token, logit in enumerate(logits)
        ]
        context.append(after.index(max(after)))
    return context[-count:]


def test_repetition_penalty_applies_to_the_last_64_tokens() -> None:
    """The window includes the prompt, and every sample has its own window."""
    logits = list(np.linspace(4, -1, 80))
    vocabulary = Vocabulary([bytes([48 + token]) for token in range(80)])
    network = constant(logits)
    for prompt in ([], [3, 1, 4], list(range(79))):
        context = feed(network, initial_context(network, 0), np.array(prompt, int))
        texts, _ = sampled(vocabulary, network, context, temperature=0, max_new_tokens=150,
                           repetition_penalty=50.0, samples=70)  # fmt: skip
        expected = penalized_greedy(logits, 50.0, prompt, 150)

        assert [ord(character) - 48 for character in texts[0]] == expected
        assert set(texts) == {texts[0]}


@pytest.mark.parametrize("first", [1, 12, 29])
def test_text_continues_from_a_context(first) -> None:
    """Two parts equal one text, including the window of the repetition penalty."""
    options = {"temperature": 0, "repetition_penalty": 1.5}
    (full,), _ = sampled(max_new_tokens=30, **options)
    (start,), (end,) = sampled(max_new_tokens=first, **options)
    (rest,), _ = sampled(max_new_tokens=30 - first, context=end.context, **options)

    assert start + rest == full


def test_prompt_can_be_fed_in_parts() -> None:
    """Two prompts with a saved context between them equal one prompt."""
    ids = LETTERS.encode("abc de. abc").ids
    start = initial_context(LETTER_MODEL, 7)
    at_once = feed(LETTER_MODEL, start, ids)
    in_parts = feed(LETTER_MODEL, feed(LETTER_MODEL, start, ids[:4]), ids[4:])

    assert sampled(context=at_once, samples=5)[0] == sampled(context=in_parts, samples=5)[0]
    assert feed(LETTER_MODEL, start, ids[:0]).recent.tolist() == []


def test_context_after_a_match_excludes_the_token_that_ended_it() -> None:
    """The text can be continued as if it had not been constrained."""
    (full,), _ = sampled(temperature=0)
    letters = re.match("[^.]+", full).group()
    (matched,), (end,) = sampled(temperature=0, rules={"match": "[^.]+"}, max_new_tokens=100)
    (rest,), _ = sampled(temperature=0, context=end.context, max_new_tokens=40 - len(letters))

    assert matched == letters
    assert matched + rest == full


def test_memory_of_endless_sampling_is_bounded() -> None:
    """Memory does not grow between 1,000 and 11,000 tokens."""
    request = Request(SampleConfig(max_new_tokens=-1), constrain(LETTERS.pieces), seed=1)
    events = generate(LETTER_MODEL, LETTERS, request, initial_context(LETTER_MODEL, 0))
    tracemalloc.start()
    list(itertools.islice(events, 1000))
    before, _ = tracemalloc.get_traced_memory()
    for _ in itertools.islice(events, 10_000):
        pass
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 5000


@pytest.mark.parametrize("options", [{"stop": ("a", "")}, {"samples": 2, "max_new_tokens": -1}])
def test_invalid_request_is_a_usage_error(options) -> None:
    """An empty stop string and several endless samples are invalid."""
    with pytest.raises(UsageError):
        sampled(**options)


def test_first_sample_is_streamed() -> None:
    """Each of its tokens is yielded before the other samples are complete."""
    request = Request(SampleConfig(max_new_tokens=50), constrain(LETTERS.pieces), 1, samples=10)
    events = list(generate(LETTER_MODEL, LETTERS, request, initial_context(LETTER_MODEL, 0)))

    assert [len(event.data.decode()) for event in events[:50]] == [1] * 50


@given(st.text("abé?☃", max_size=8))
def test_out_of_vocabulary_symbols_of_a_prompt(prompt) -> None:
    """They raise an error with symbol and position, are skipped, or are fed as <unk>."""
    known = [symbol for symbol in prompt if symbol in SYMBOLS]

    assert LETTERS.unk_id in encode_prompt(LETTERS, prompt, "replace") or known == list(prompt)
    assert encode_prompt(LETTERS, prompt, "skip").tolist() == [SYMBOLS.index(s) for s in known]
    if known != list(prompt):
        place = next(at for at, symbol in enumerate(prompt) if symbol not in SYMBOLS)
        with pytest.raises(UsageError) as refusal:
            encode_prompt(LETTERS, prompt)
        assert f"vocabulary: {prompt[place]!r} at character {place + 1}" in refusal.value.message


def test_vocabulary_of_one_token() -> None:
    """The only token is generated with a loss of zero."""
    texts, (end,) = sampled(Vocabulary([b"x"]), constant([0.0]), max_new_tokens=3, loss=True)

    assert texts == ["xxx"]
    assert end.loss == 0


def test_loss_does_not_depend_on_the_batch() -> None:
    """The loss of a sample is the same alone and in a batch."""
    _, many = sampled(samples=20, loss=True)
    _, one = sampled(loss=True)

    assert many[0].loss == pytest.approx(one[0].loss, abs=1e-6)
    log_prob = target_log_probs(np.zeros((1, 4), np.float32), np.array([2]))[0]
    assert log_prob == pytest.approx(-math.log(4))


@pytest.fixture(params=[False, True], ids=["text", "records"])
def model(request):
    """A model file with random weights, of a text or of records."""
    config = tiny_config("lstm", 2, vocab_size=LETTERS.vocab_size, hidden_size=16)
    return ModelFile(config, LETTERS, 3, random_tensors(config), records=request.param)


def test_sample_text_uses_the_default_settings(model) -> None:
    """It is one text, or several records with different seeds, one per line."""
    network = NumpyModel(model.config, model.tensors)

    def expected(seed):
        stop = ("\n",) if model.records else ()
        context = initial_context(network, 3)
        (text,), _ = sampled(
            LETTERS, network, context, temperature=0.8, max_new_tokens=60, seed=seed, stop=stop
        )
        return text

    seeds = range(7, 7 + SAMPLE_RECORDS) if model.records else [7]
    assert sample_text(model, network, 60, seed=7) == "\n".join(expected(seed) for seed in seeds)


def test_generate_text_continues_a_prompt(model) -> None:
    """It applies settings, pattern and stop strings, and does not return the prompt."""
    network = NumpyModel(model.config, model.tensors)
    config = SampleConfig(temperature=0.0, max_new_tokens=12)
    context = feed(network, initial_context(network, 3), LETTERS.encode("abc").ids)
    (expected,), _ = sampled(
        LETTERS, network, context, temperature=0.0, max_new_tokens=12, stop=("dd",),
        rules={"match": "[a-e]+"},
    )  # fmt: skip
    pieces = generate_text(model, network, config, prompt="abc", stop=["dd"], match="[a-e]+")

    assert "".join(pieces) == expected
    with pytest.raises(UsageError, match="not in the vocabulary"):
        generate_text(model, network, config, prompt="☃")


def test_prompt_in_another_case_is_pointed_out() -> None:
    """Only a case that is in the vocabulary is named."""
    with pytest.raises(UsageError) as caught:
        encode_prompt(LETTERS, "aBZ")
    assert caught.value.message == (
        "not in the vocabulary: 'B' at character 2, 'Z' at character 3 of the prompt; "
        "the vocabulary has 'b'"
    )
