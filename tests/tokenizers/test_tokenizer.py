"""All tokenizers: lossless round trips, slices, compatibility with Hugging Face, options."""

import random
import re
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.errors import UsageError
from charnn.tokenizers import bpe, char
from charnn.tokenizers.bpe import BpeTokenizer
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.registry import TOKENIZERS
from charnn.tokenizers.tokenizer import VocabularyOptions, smallest_dtype
from charnn.tokenizers.tokenizer_json import dump_tokenizer, load_tokenizer
from charnn.tokenizers.words import WordTokenizer

KINDS = sorted(TOKENIZERS)
HARD = (
    "plain words, here.\r\nCRLF\rlone CR\n\n\ttab  two   spaces \n"
    "NUL \0 ESC \x1b[31m e\u0301 é \u2028 \u2029 \u0085 \x0b \ufeff \ufffd "
    "👩\u200d👩\u200d👧 𝕬 <unk> <|endoftext|> don't 中文，標點。 naïve"
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(text=TEXTS)
def test_decode_inverts_encode(kind, text) -> None:
    """The decoded ids of the text of the vocabulary are that text, byte for byte."""
    tokenizer = TOKENIZERS[kind].build(text)
    encoded = tokenizer.encode(text)
    ids = encoded.ids

    assert tokenizer.decode(ids) == text.encode()
    assert not encoded.unknown
    assert tokenizer.byte_lengths[ids].sum() == len(text.encode())
    assert tokenizer.char_lengths[ids].sum() == len(text)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_of_tokens_are_computed_once(kind) -> None:
    """They are needed at each evaluation, and take 0.1 seconds for 200,000 tokens."""
    tokenizer = TOKENIZERS[kind].build(HARD)

    assert tokenizer.char_lengths is tokenizer.char_lengths
    assert tokenizer.byte_lengths is tokenizer.byte_lengths


@pytest.mark.parametrize("kind", KINDS)
def test_slices_do_not_change_ids(kind, monkeypatch) -> None:
    """A text of unusual characters has the same ids when encoded in slices of seven."""
    text = HARD * 3
    tokenizer = TOKENIZERS[kind].build(text)
    whole = tokenizer.encode(text).ids
    monkeypatch.setattr(char, "SLICE", 7)
    monkeypatch.setattr(bpe, "PART", 7)

    assert tokenizer.decode(whole) == text.encode()
    assert (tokenizer.encode(text).ids == whole).all()
    assert TOKENIZERS[kind].build(text).pieces == tokenizer.pieces or kind == "bpe"


@settings(max_examples=300)
@given(st.text("ab \n\tZ.,'9é河，", min_size=1, max_size=60))
def test_bpe_parts_do_not_change_ids(text) -> None:
    """The ids equal those of the library for the whole text, for any part size."""
    tokenizer = BPE
    library = tokenizers.Tokenizer.from_str(dump_tokenizer(tokenizer))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "PART", 3)
        ids = tokenizer.encode(text).ids

    assert ids.tolist() == library.encode(text).ids


def test_bpe_parts_of_a_long_text_are_small() -> None:
    """The library takes hundreds of bytes per character of a part."""
    text = "one two three, " * 20_000
    parts = list(bpe._parts(text))

    assert "".join(parts) == text
    assert max(map(len, parts)) < 66_000


BPE = BpeTokenizer.build(
    "a ba\n ab'ab Zab.\n\nab 9é ab  ab\tab,ab\n" * 20, VocabularyOptions(vocab_size=290)
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text("ab \n\tZ.,'9é河，\x1c", min_size=1, max_size=60), rest=st.text("ab .河，\x1c"))
def test_safe_cut_does_not_change_ids(kind, text, rest) -> None:
    """The ids before the cut do not depend on the rest of the text."""
    tokenizer = BPE if kind == "bpe" else TOKENIZERS[kind].build(text + rest)
    cut = tokenizer.safe_cut(text)
    apart = [*tokenizer.encode(text[:cut]).ids, *tokenizer.encode(text[cut:] + rest).ids]

    assert 0 < cut <= len(text)
    if cut < len(text) or kind in ("char", "byte"):
        assert apart == tokenizer.encode(text + rest).ids.tolist()


PATTERNS = [r"\w+ \w+", r" ?\n| ?\S+|\s", r"\w+", "a", r"[^.]+\.", r"\s+|\S", "[ab]*", r"\b"]


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text("ab. \n", min_size=1, max_size=40), rest=st.text("ab .", max_size=20))
def test_safe_cut_of_words_of_any_pattern_does_not_change_ids(pattern, text, rest) -> None:
    """Words may contain spaces."""
    tokenizer = WordTokenizer.build(text + rest, VocabularyOptions(word_pattern=pattern))
    cut = tokenizer.safe_cut(text)
    apart = [*tokenizer.encode(text[:cut]).ids, *tokenizer.encode(text[cut:] + rest).ids]

    assert cut == len(text) or apart == tokenizer.encode(text + rest).ids.tolist()


def test_word_safe_cut_is_before_the_last_space() -> None:
    """A space belongs to the next word; a text of one word is cut at its end."""
    tokenizer = WordTokenizer.build("one two")

    assert tokenizer.safe_cut("one two") == 3
    assert tokenizer.safe_cut("one two ") == 7
    assert tokenizer.safe_cut(" one") == 4
    assert tokenizer.safe_cut("河镇，渡口") == 2
    assert tokenizer.safe_cut("") == 0


def test_bpe_safe_cut_follows_the_gpt2_pattern() -> None:
    """Before a space or a Chinese punctuation mark, but not at a control character."""
    assert BPE.safe_cut("one two\x1cthree") == 3
    assert BPE.safe_cut("河镇，渡口") == 2


@pytest.mark.parametrize("kind", KINDS)
def test_hugging_face_reads_tokenizer_json(kind) -> None:
    """The library gives the same ids and the same text."""
    tokenizer = TOKENIZERS[kind].build(HARD)
    library = tokenizers.Tokenizer.from_str(dump_tokenizer(tokenizer))

    ids = tokenizer.encode(HARD).ids.tolist()
    assert library.encode(HARD).ids == ids
    assert library.decode(ids, skip_special_tokens=False) == HARD
    assert library.get_vocab_size() == tokenizer.vocab_size


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trip(kind) -> None:
    """Ids, pieces and the file written again are equal."""
    tokenizer = TOKENIZERS[kind].build(HARD)
    again = load_tokenizer(dump_tokenizer(tokenizer))

    assert again.kind == kind
    assert again.pieces == tokenizer.pieces
    assert again.unk_id == tokenizer.unk_id
    assert (again.encode(HARD).ids == tokenizer.encode(HARD).ids).all()
    assert dump_tokenizer(again) == dump_tokenizer(tokenizer)


def test_byte_ids_are_byte_values() -> None:
    """All 256 values and random binary data are encoded and decoded unchanged."""
    tokenizer = ByteTokenizer()
    data = bytes(range(256)) + random.Random(1).randbytes(1000)

    assert tokenizer.encode(data).ids.tolist() == list(data)
    assert tokenizer.decode(tokenizer.encode(data).ids) == data
    assert tokenizer.vocab_size == 256


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=30))
def test_encode_accepts_bytes(kind, data) -> None:
    """Invalid UTF-8 becomes U+FFFD, except in the byte tokenizer, which keeps it."""
    tokenizer = TOKENIZERS[kind].build(HARD)
    text = data.decode("utf-8", "surrogateescape" if kind == "byte" else "replace")

    assert tokenizer.encode(data).ids.tolist() == tokenizer.encode(text).ids.tolist()
    assert kind != "byte" or tokenizer.decode(tokenizer.encode(data).ids) == data


def test_byte_tokenizer_encodes_lone_surrogates() -> None:
    """A surrogate that does not encode a byte becomes three bytes."""
    assert bytes(ByteTokenizer().encode("a\ud800").ids) == b"a\xed\xa0\x80"


def test_unk_in_the_corpus_is_ordinary_text() -> None:
    """The word <unk> has its own id, which differs from that of out-of-vocabulary words."""
    tokenizer = WordTokenizer.build("a <unk> b", VocabularyOptions(word_pattern=r" ?\S+"))
    ids = tokenizer.encode("a <unk> zebra").ids

    assert tokenizer.unk_id not in ids[:2]
    assert ids[2] == tokenizer.unk_id
    assert (
        load_tokenizer(dump_tokenizer(tokenizer)).encode("a <unk> zebra").ids.tolist()
        == ids.tolist()
    )


@pytest.mark.parametrize(
    ("kind", "known", "text", "unknown"),
    [
        ("char", "abc", "abxcéx", {"x": [2, 5], "é": [4]}),
        ("word", "one two", "one 2 two three 2", {" 2": [3, 15], " three": [9]}),
    ],
)
@pytest.mark.parametrize("size", [2, 100])
def test_out_of_vocabulary_symbols_have_offsets(
    kind, known, text, unknown, size, monkeypatch
) -> None:
    """All offsets in characters, in order, also for a text encoded in slices."""
    monkeypatch.setattr(char, "SLICE", size)
    tokenizer = TOKENIZERS[kind].build(known)
    encoded = tokenizer.encode(text)

    assert {symbol: list(offsets) for symbol, offsets in encoded.unknown.items()} == unknown
    assert list(encoded.unknown) == list(unknown)
    assert (encoded.ids == tokenizer.unk_id).sum() == 3
    assert tokenizer.char_lengths[tokenizer.unk_id] == 0


def test_lone_surrogate_is_out_of_vocabulary() -> None:
    """An undecodable byte in a command line does not crash the tokenizer."""
    tokenizer = CharTokenizer.build("ab\udcff")

    encoded = tokenizer.encode("a\udcffb")

    assert encoded.ids.tolist() == [0, tokenizer.unk_id, 1]
    assert list(encoded.unknown["\udcff"]) == [1]
    assert BPE.decode(BPE.encode("a\udcffb").ids) == "a\ufffdb".encode()


def test_bpe_learns_from_text_with_lone_surrogates() -> None:
    """Each is U+FFFD, which has three bytes, in the learned tokens too."""
    text = "the \ud800 lamp \ud800 " * 20

    assert BpeTokenizer.build(text).pieces == BpeTokenizer.build(text.replace("\ud800", "�")).pieces


def test_ids_of_70_000_words_have_four_bytes() -> None:
    """Ids above 65,535 do not wrap around."""
    text = " ".join(f"w{number}" for number in range(70_000))
    tokenizer = WordTokenizer.build(text)
    ids = tokenizer.encode(text).ids

    assert tokenizer.dtype == np.dtype("<u4")
    assert int(ids.max()) >= 65_536
    assert tokenizer.decode(ids) == text.encode()


def test_40_000_characters_are_kept() -> None:
    """The vocabulary has no limit by default."""
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000))) + "".join(
        map(chr, range(0x20000, 0x20000 + 20_000))
    )
    tokenizer = CharTokenizer.build(text)

    assert tokenizer.vocab_size == 40_001
    assert tokenizer.decode(tokenizer.encode(text).ids) == text.encode()


@pytest.mark.parametrize(
    ("size", "name"), [(256, "<u1"), (257, "<u2"), (65_536, "<u2"), (65_537, "<u4")]
)
def test_ids_have_the_smallest_dtype(size, name) -> None:
    """One byte up to 256 token types, two up to 65,536."""
    assert smallest_dtype(size) == np.dtype(name)


def test_rare_symbols_become_unk() -> None:
    """min_count and vocab_size keep the most frequent symbols; vocab_size includes <unk>."""
    assert CharTokenizer.build("aaabbc", VocabularyOptions(min_count=2)).pieces[:-1] == [b"a", b"b"]
    assert CharTokenizer.build("aaabbc", VocabularyOptions(vocab_size=2)).pieces[:-1] == [b"a"]
    assert WordTokenizer.build("a b a", VocabularyOptions(vocab_size=2)).vocab_size == 2


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("byte", {"vocab_size": 100}, "--vocab-size"),
        ("byte", {"min_count": 2}, "--min-count"),
        ("byte", {"word_pattern": "x"}, "--word-pattern"),
        ("bpe", {"min_count": 2}, "--min-count"),
        ("bpe", {"word_pattern": "x"}, "--word-pattern"),
        ("bpe", {"vocab_size": 255}, "at least 256"),
        ("char", {"word_pattern": "x"}, "--word-pattern"),
        ("word", {"word_pattern": "(x"}, "at character 0"),
    ],
)
def test_inapplicable_options_are_a_usage_error(kind, options, said) -> None:
    """The message names the option."""
    with pytest.raises(UsageError, match=re.escape(said)):
        TOKENIZERS[kind].build("text", VocabularyOptions(**options))


def test_char_and_byte_do_not_import_tokenizers() -> None:
    """Loading, encoding and decoding are fast for `sample`."""
    script = (
        "import sys\n"
        "from charnn.tokenizers.registry import TOKENIZERS\n"
        "from charnn.tokenizers.tokenizer_json import dump_tokenizer, load_tokenizer\n"
        "for kind in ('char', 'byte', 'word'):\n"
        "    t = load_tokenizer(dump_tokenizer(TOKENIZERS[kind].build('some text')))\n"
        "    assert t.decode(t.encode('some text').ids) == b'some text'\n"
        "assert 'tokenizers' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
