"""Surprisal of lines: independent of other lines, carried, and of long lines in pieces."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.evaluation.line_reader import Part, cut_line
from charnn.evaluation.surprisal import ModelReader, Passage, Scorer
from charnn.model.softmax import target_log_probs
from charnn.tokenizers.bpe import BpeTokenizer
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.tokenizer import VocabularyOptions
from charnn.tokenizers.words import WordTokenizer
from tests.tiny import tiny_model

TEXT = "the quick brown fox jumps over the lazy dog, or: 狐狸 跳过 了 é\n" * 4
TOKENIZERS = {
    "char": CharTokenizer.build(TEXT),
    "byte": ByteTokenizer.build(TEXT),
    "word": WordTokenizer.build(TEXT),
    "bpe": BpeTokenizer.build(TEXT, VocabularyOptions(vocab_size=280)),
}
MODELS = {
    kind: tiny_model("lstm", 2, vocab_size=tokenizer.vocab_size, hidden_size=16)
    for kind, tokenizer in TOKENIZERS.items()
}
START = 3
KINDS = pytest.mark.parametrize("kind", TOKENIZERS)
LINES = st.lists(st.text(alphabet="the quick 狐é,X", max_size=30).map(str.encode), max_size=50)


def scorer(kind="char", **options):
    return Scorer(MODELS[kind], TOKENIZERS[kind], START, **options)


def nats_one_by_one(kind, ids, before=()):
    """Return -ln p of each id, one step at a time from the initial state; NaN for <unk>."""
    streams = MODELS[kind].streams(MODELS[kind].initial_state())
    logits = streams.step(np.array([START]))
    for index in before:
        logits = streams.step(np.array([index]))
    nats = []
    for index in ids:
        known = index != TOKENIZERS[kind].unk_id
        nats.append(-target_log_probs(logits, np.array([index]))[0] if known else math.nan)
        logits = streams.step(np.array([index]))
    return nats


@KINDS
def test_nats_of_a_line_agree_with_single_steps(kind) -> None:
    """Each token is predicted from the start token and the tokens before it in the line."""
    lines = [b"the fox", b"", "狐狸 Xé".encode(), b"dog"]
    results = list(scorer(kind).score([Part(line) for line in lines]))

    for line, result in zip(lines, results, strict=True):
        ids = TOKENIZERS[kind].encode(line).ids.tolist()
        assert result.ids.tolist() == ids
        assert result.nats == pytest.approx(nats_one_by_one(kind, ids), abs=1e-4, nan_ok=True)


@given(LINES, st.randoms(use_true_random=False))
def test_nats_of_a_line_are_bit_identical_among_other_lines(lines, random) -> None:
    """They do not depend on the number and order of lines, nor on the number of threads."""
    alone = {line: next(scorer().score([Part(line)])).nats.tobytes() for line in lines}
    random.shuffle(lines)
    together = scorer(threads=3).score([Part(line) for line in lines * 3])

    assert [r.nats.tobytes() for r in together] == [alone[line] for line in lines * 3]


@pytest.mark.parametrize("hidden_size", [33, 128, 512])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_columns_of_a_matrix_product_are_independent(cell, hidden_size) -> None:
    """The sizes include those at which BLAS libraries change their algorithm."""
    tokenizer = TOKENIZERS["char"]
    network = tiny_model(cell, 2, vocab_size=tokenizer.vocab_size, hidden_size=hidden_size)
    lines = [Part(line.encode()) for line in ("the fox", "quick", "dog, or: brown", "é") * 9]
    alone = [next(Scorer(network, tokenizer, START).score([line])).nats for line in lines]

    for one, among in zip(alone, Scorer(network, tokenizer, START).score(lines), strict=True):
        assert np.array_equal(one, among.nats)


@KINDS
@given(lines=LINES)
def test_carried_lines_equal_the_whole_text(kind, lines) -> None:
    """The newlines between them are fed, but not scored."""
    tokenizer = TOKENIZERS[kind]
    results = list(scorer(kind, carry=True).score([Part(line) for line in lines]))
    before = []
    for line, result in zip(lines, results, strict=True):
        ids = tokenizer.encode(line).ids.tolist()
        expected = nats_one_by_one(kind, ids, before)
        assert result.nats == pytest.approx(expected, abs=2e-4, nan_ok=True)
        before += [*ids, *tokenizer.encode(b"\n").ids.tolist()]


@KINDS
@given(size=st.integers(1, 40))
def test_long_line_in_pieces_equals_the_line(kind, size) -> None:
    """No character is lost, and the nats of all tokens agree with single steps."""
    line = TEXT.replace("\n", " ").encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charnn.evaluation.line_reader.LONG_LINE", size)
        parts = cut_line(line)
        passage = Passage(ModelReader(MODELS[kind]), TOKENIZERS[kind], START)
        results = [passage.feed(part) for part in parts]

    ids = np.concatenate([result.ids for result in results]).tolist()
    if kind in ("char", "byte"):
        assert ids == TOKENIZERS[kind].encode(line).ids.tolist()
    elif kind == "bpe":
        assert TOKENIZERS[kind].decode(ids) == line
    nats = np.concatenate([result.nats for result in results])
    assert nats == pytest.approx(nats_one_by_one(kind, ids), abs=2e-4, nan_ok=True)


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_pieces_are_divided_at_spaces(kind) -> None:
    """If every piece contains a space, the tokens are those of the whole line."""
    line = TEXT.replace("\n", " ").encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charnn.evaluation.line_reader.LONG_LINE", 25)
        passage = Passage(ModelReader(MODELS[kind]), TOKENIZERS[kind], START)
        ids = np.concatenate([passage.feed(part).ids for part in cut_line(line)]).tolist()

    assert ids == TOKENIZERS[kind].encode(line).ids.tolist()


def test_total_excludes_unk() -> None:
    """<unk> is counted, but not included in the loss."""
    scored = next(scorer().score([Part(b"thXe")]))
    total = scorer().total(scored)

    assert (total.tokens, total.unknown, total.chars) == (3, 1, 3)
    assert total.nats == pytest.approx(np.nansum(scored.nats))
    assert scorer().spelled(scored) == [b"t", b"h", b"X", b"e"]


def test_identical_lines_are_scored_once(monkeypatch) -> None:
    """Also if they come in different batches; the scores are those of each line alone."""
    scored = []
    lines_scorer = scorer()
    score_lines = lines_scorer._score_lines
    monkeypatch.setattr(lines_scorer, "_score_lines", lambda t: scored.extend(t) or score_lines(t))
    lines = [Part(b"the fox"), Part(b"dog"), Part(b"the fox")]
    first = [found.nats.tolist() for found in lines_scorer.score(lines)]
    again = [found.nats.tolist() for found in lines_scorer.score(lines)]

    assert len(scored) == 2
    assert first[0] == first[2]
    assert first == again
