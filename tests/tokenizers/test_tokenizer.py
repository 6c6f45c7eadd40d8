"""Every tokenizer: lossless, bulk equals one by one, and what other programs make of its file."""

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
from charnn.tokenizers.tokenizer import VocabularyOptions, narrowest_dtype
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
def test_a4_a5_a14_every_kind_is_lossless_on_its_own_text(kind, text) -> None:
    """Whatever the text, decoding its ids gives it back, byte for byte; nothing is unknown."""
    tokenizer = TOKENIZERS[kind].build(text)
    encoded = tokenizer.encode(text)
    ids = encoded.ids

    assert tokenizer.decode(ids) == text.encode()
    assert not encoded.unknown
    assert tokenizer.byte_lengths[ids].sum() == len(text.encode())
    assert tokenizer.char_lengths[ids].sum() == len(text)


@pytest.mark.parametrize("kind", KINDS)
def test_hard_text_survives_and_slices_do_not_show(kind, monkeypatch) -> None:
    """A text of everything nasty, encoded in slices of seven characters, has the same ids."""
    text = HARD * 3
    tokenizer = TOKENIZERS[kind].build(text)
    whole = tokenizer.encode(text).ids
    monkeypatch.setattr(char, "SLICE", 7)
    monkeypatch.setattr(bpe, "PART", 7)

    assert tokenizer.decode(whole) == text.encode()
    assert (tokenizer.encode(text).ids == whole).all()
    assert TOKENIZERS[kind].build(text).pieces == tokenizer.pieces or kind == "bpe"


@settings(max_examples=300)
@given(st.text("ab \n\tZ.,'9é", min_size=1, max_size=60))
def test_bpe_parts_are_cut_where_no_id_changes(text) -> None:
    """The ids of a text are those of the library for the whole of it, wherever it is cut."""
    tokenizer = BPE
    library = tokenizers.Tokenizer.from_str(dump_tokenizer(tokenizer))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "PART", 3)
        ids = tokenizer.encode(text).ids

    assert ids.tolist() == library.encode(text).ids


BPE = BpeTokenizer.build(
    "a ba\n ab'ab Zab.\n\nab 9é ab  ab\tab,ab\n" * 20, VocabularyOptions(vocab_size=290)
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text("ab \n\tZ.,'9é河，\x1c", min_size=1, max_size=60), rest=st.text("ab .河，\x1c"))
def test_a_safe_cut_changes_no_id(kind, text, rest) -> None:
    """The ids before the cut do not depend on how the text continues."""
    tokenizer = BPE if kind == "bpe" else TOKENIZERS[kind].build(text + rest)
    cut = tokenizer.safe_cut(text)
    apart = [*tokenizer.encode(text[:cut]).ids, *tokenizer.encode(text[cut:] + rest).ids]

    assert 0 < cut <= len(text)
    if cut < len(text) or kind in ("char", "byte"):
        assert apart == tokenizer.encode(text + rest).ids.tolist()


def test_a_word_is_cut_before_the_last_space_after_something() -> None:
    """So that a space stays with its word; without one the text is cut at its end."""
    tokenizer = WordTokenizer.build("one two")

    assert tokenizer.safe_cut("one two") == 3
    assert tokenizer.safe_cut("one two ") == 7
    assert tokenizer.safe_cut(" one") == 4
    assert tokenizer.safe_cut("") == 0


def test_byte_pairs_are_cut_where_the_pattern_of_gpt2_splits() -> None:
    """Before a space or a Chinese punctuation mark, but not at a control character."""
    assert BPE.safe_cut("one two\x1cthree") == 3
    assert BPE.safe_cut("河镇，渡口") == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_read_by_hugging_face_tokenizers_with_the_same_result(kind) -> None:
    """Same ids, same text, for everything in the vocabulary."""
    tokenizer = TOKENIZERS[kind].build(HARD)
    library = tokenizers.Tokenizer.from_str(dump_tokenizer(tokenizer))

    ids = tokenizer.encode(HARD).ids.tolist()
    assert library.encode(HARD).ids == ids
    assert library.decode(ids, skip_special_tokens=False) == HARD
    assert library.get_vocab_size() == tokenizer.vocab_size


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_is_the_same_after_its_file(kind) -> None:
    """Ids, pieces, and the file written again are equal."""
    tokenizer = TOKENIZERS[kind].build(HARD)
    again = load_tokenizer(dump_tokenizer(tokenizer))

    assert again.kind == kind
    assert again.pieces == tokenizer.pieces
    assert again.unk_id == tokenizer.unk_id
    assert (again.encode(HARD).ids == tokenizer.encode(HARD).ids).all()
    assert dump_tokenizer(again) == dump_tokenizer(tokenizer)


def test_a2_a_byte_is_its_own_id() -> None:
    """All 256 values and random binary go through unchanged."""
    tokenizer = ByteTokenizer()
    data = bytes(range(256)) + random.Random(1).randbytes(1000)

    assert tokenizer.encode(data).ids.tolist() == list(data)
    assert tokenizer.decode(tokenizer.encode(data).ids) == data
    assert tokenizer.vocab_size == 256


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=30))
def test_bytes_are_encoded_as_their_text(kind, data) -> None:
    """Invalid UTF-8 is U+FFFD, except for a tokenizer of bytes, which keeps it."""
    tokenizer = TOKENIZERS[kind].build(HARD)
    text = data.decode("utf-8", "surrogateescape" if kind == "byte" else "replace")

    assert tokenizer.encode(data).ids.tolist() == tokenizer.encode(text).ids.tolist()
    assert kind != "byte" or tokenizer.decode(tokenizer.encode(data).ids) == data


def test_a_surrogate_that_stands_for_no_byte_is_encoded_as_a_code_point() -> None:
    """As three bytes, like any other code point of its size."""
    assert bytes(ByteTokenizer().encode("a\ud800").ids) == b"a\xed\xa0\x80"


def test_a14_unk_written_in_a_corpus_is_ordinary_text() -> None:
    """The word <unk> has an id of its own, other than that for unknown words."""
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
def test_a15_unknown_symbols_have_their_offsets(
    kind, known, text, unknown, size, monkeypatch
) -> None:
    """Encoding returns every offset in characters, in order, also of a text encoded in slices."""
    monkeypatch.setattr(char, "SLICE", size)
    tokenizer = TOKENIZERS[kind].build(known)
    encoded = tokenizer.encode(text)

    assert {symbol: list(offsets) for symbol, offsets in encoded.unknown.items()} == unknown
    assert list(encoded.unknown) == list(unknown)
    assert (encoded.ids == tokenizer.unk_id).sum() == 3
    assert tokenizer.char_lengths[tokenizer.unk_id] == 0


def test_a_lone_surrogate_is_an_unknown_character() -> None:
    """An undecodable byte of a command line is no crash."""
    tokenizer = CharTokenizer.build("ab\udcff")

    encoded = tokenizer.encode("a\udcffb")

    assert encoded.ids.tolist() == [0, tokenizer.unk_id, 1]
    assert list(encoded.unknown["\udcff"]) == [1]
    assert BPE.decode(BPE.encode("a\udcffb").ids) == "a\ufffdb".encode()


def test_a12_seventy_thousand_words_get_four_bytes_each() -> None:
    """Ids beyond 65,535 are not wrapped."""
    text = " ".join(f"w{number}" for number in range(70_000))
    tokenizer = WordTokenizer.build(text)
    ids = tokenizer.encode(text).ids

    assert tokenizer.dtype == np.dtype("<u4")
    assert int(ids.max()) >= 65_536
    assert tokenizer.decode(ids) == text.encode()


def test_a13_forty_thousand_characters_are_all_kept() -> None:
    """No silent cap on the vocabulary."""
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000))) + "".join(
        map(chr, range(0x20000, 0x20000 + 20_000))
    )
    tokenizer = CharTokenizer.build(text)

    assert tokenizer.vocab_size == 40_001
    assert tokenizer.decode(tokenizer.encode(text).ids) == text.encode()


@pytest.mark.parametrize(
    ("size", "name"), [(256, "<u1"), (257, "<u2"), (65_536, "<u2"), (65_537, "<u4")]
)
def test_ids_have_the_narrowest_type(size, name) -> None:
    """One byte up to 256 types, two up to 65,536."""
    assert narrowest_dtype(size) == np.dtype(name)


def test_rare_symbols_become_unknown() -> None:
    """min_count and vocab_size keep the most frequent; <unk> counts."""
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
        ("bpe", {"vocab_size": 255}, "256 bytes"),
        ("char", {"word_pattern": "x"}, "--word-pattern"),
        ("word", {"word_pattern": "(x"}, "at character 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(kind, options, said) -> None:
    """UsageError naming the flag."""
    with pytest.raises(UsageError, match=re.escape(said)):
        TOKENIZERS[kind].build("text", VocabularyOptions(**options))


def test_char_and_byte_work_without_the_library() -> None:
    """Loading, encoding and decoding import no `tokenizers`, so that `sample` starts at once."""
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
