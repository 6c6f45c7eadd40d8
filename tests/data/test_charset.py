"""Bytes become one text without losing anything that is not reported."""

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.data.charset import TextReport, decode, join_bytes
from charnn.data.sources import Source
from charnn.errors import DataError, UsageError

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")
TEXTS = st.text(CHARACTERS, min_size=1).filter(lambda text: not text.isspace())


def source(data: bytes, name: str = "notes.txt") -> Source:
    """A source of the given bytes; its hash plays no part here."""
    return Source(name, data, "0" * 64)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be", "gb18030"])
@given(text=TEXTS)
def test_every_text_survives(encoding: str, text: str) -> None:
    """Whatever can be written in an encoding is read from it unchanged."""
    assert decode([source(text.encode(encoding))], encoding=encoding)[0] == text


@pytest.mark.parametrize(
    "text",
    ["a\0b", "\x1b[31mred", "a\u2028b\x85c\x0bd\x0ce", "a\u200bb", "👩‍🔬", "\u00e9 e\u0301", "x\r"],
)
def test_odd_characters_are_kept(text: str) -> None:
    """Controls, line separators, joiners and both forms of é pass without normalisation."""
    assert decode([source(text.encode())])[0] == text


@given(before=TEXTS, bad=st.sampled_from([b"\xff", b"\x80", b"\xe2\x82", b"\xed\xa0\x80"]))
def test_a_bad_byte_is_located(before: str, bad: bytes) -> None:
    """File, byte, offset and line of the first byte that is not UTF-8 are named."""
    head = before.encode()
    with pytest.raises(DataError) as caught:
        decode([source(b"fine", "first.txt"), source(head + bad + b" after\n")])
    line = before.count("\n") + 1
    assert caught.value.message == (
        f"notes.txt: byte 0x{bad[0]:02x} at offset {len(head):,}, line {line:,}, is not valid UTF-8"
    )


def test_the_remedies_of_a_bad_byte_can_be_typed() -> None:
    """The hint names the ways out that eval has too; prepare adds --tokenizer byte."""
    with pytest.raises(DataError) as caught:
        decode([source(b"caf\xe9")])
    assert caught.value.exit_code == 65
    for remedy in ("--encoding", "--errors replace"):
        assert remedy in caught.value.hint


def test_replacements_are_counted() -> None:
    """Each undecodable place becomes U+FFFD once; those that the text contains do not count."""
    data = "one \ufffd two".encode() + b"\xff and \xc3( \xe2\x82"
    text, report = decode([source(data)], errors="replace")
    assert text == "one \ufffd two\ufffd and \ufffd( \ufffd"
    assert report.replaced == 3
    assert report.notes == ("3 undecodable places became U+FFFD",)


def test_sound_text_has_no_replacements() -> None:
    """--errors replace changes nothing in a text that needs none."""
    assert decode([source("a\ufffdb".encode())], errors="replace") == ("a\ufffdb", TextReport())


@pytest.mark.parametrize("encoding", ["utf-8", "utf8", "utf-16", "utf-16-le", "utf-8-sig"])
def test_a_byte_order_mark_is_dropped(encoding: str) -> None:
    """It is no part of the text, at the start of any source, in any encoding."""
    marked = "\ufeffone" if encoding != "utf-8-sig" else "one"
    sources = [source(marked.encode(encoding), "a.txt"), source("two".encode(encoding), "b.txt")]
    assert decode(sources, encoding=encoding)[0] == "one\ntwo"


def test_a_dropped_byte_order_mark_is_told() -> None:
    """The note names the file; a mark inside the text is a character like any other."""
    text, report = decode([source(b"\xef\xbb\xbfa\xef\xbb\xbfb")])
    assert text == "a\ufeffb"
    assert report.notes == ("notes.txt: byte order mark dropped",)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_utf16_is_recognised(encoding: str) -> None:
    """A file with a UTF-16 mark read as UTF-8 gives the flag to add, also with --errors replace."""
    for errors in ("strict", "replace"):
        with pytest.raises(DataError) as caught:
            decode([source("text".encode(encoding))], errors=errors)  # type: ignore[arg-type]
        assert caught.value.message == "notes.txt is UTF-16, not UTF-8"
        assert caught.value.hint == "--encoding utf-16"


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "idna", "undefined", "rot13", ""])
def test_an_unknown_encoding_is_wrong_usage(encoding: str) -> None:
    """What Python does not decode text with is refused before anything is read."""
    with pytest.raises(UsageError, match="is not known"):
        decode([source(b"text")], encoding=encoding)


@given(text=st.text(st.sampled_from("a\r\n\u2028"), min_size=1).filter(lambda t: "a" in t))
def test_line_ends_are_counted_and_converted(text: str) -> None:
    """Kept by default and counted; `lf` turns CRLF and lone CR, and nothing else, into LF."""
    crlf = len(re.findall(r"\r\n", text))
    lone = len(re.findall(r"\r(?!\n)", text))
    kept, report = decode([source(text.encode())])
    assert (kept, report.crlf, report.lone_cr) == (text, crlf, lone)
    converted, report = decode([source(text.encode())], newlines="lf")
    assert converted == re.sub(r"\r\n?", "\n", text)
    assert (report.crlf, report.lone_cr) == (crlf, lone)
    assert join_bytes([source(text.encode())], newlines="lf")[0] == converted.encode()


def test_kept_line_ends_come_with_the_flag() -> None:
    """The note says how many there are and how to convert them."""
    _, report = decode([source(b"a\r\nb\r\nc\rd")])
    assert report.notes == (
        "line ends: 2 CRLF and 1 lone CR kept; --newlines lf turns them into LF",
    )
    _, report = decode([source(b"a\r\nb")], newlines="lf")
    assert report.notes == ("line ends: 1 CRLF and 0 lone CR turned into LF",)


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        ([b"a", b"b"], b"a\nb"),
        ([b"a\n", b"b\n"], b"a\nb\n"),
        ([b"a\r", b"b"], b"a\rb"),
        ([b"a", b"", b"b"], b"a\nb"),
        ([b"", b"a"], b"a"),
        ([b"a\n", b"\nb"], b"a\n\nb"),
    ],
)
def test_a_newline_stands_between_sources(parts: list[bytes], joined: bytes) -> None:
    """One is put between two sources where it is missing, nowhere else."""
    sources = [source(part) for part in parts]
    assert join_bytes(sources)[0] == joined
    assert decode(sources)[0] == joined.decode()


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", "\u3000\u2029".encode(), b"\xef\xbb\xbf"])
def test_nothing_to_learn_from_is_refused(data: bytes) -> None:
    """An empty text or one of white space is an error, not an empty dataset."""
    with pytest.raises(DataError, match=r"^notes.txt: (empty|contains only white space)"):
        decode([source(data)])


def test_blank_bytes_are_refused() -> None:
    """The same for bytes; standard input is called by its name."""
    with pytest.raises(DataError, match=r"^a.txt, standard input: empty"):
        join_bytes([source(b"", "a.txt"), source(b"", "-")])


def test_nul_characters_are_told() -> None:
    """They are kept, but a text rarely has any: the note asks."""
    text, report = decode([source(b"a\0b\0")])
    assert text == "a\0b\0"
    assert report.notes == ("2 NUL characters kept: is this a text?",)


def test_all_bytes_pass_in_byte_mode() -> None:
    """Every byte value, a byte order mark, UTF-16: bytes are bytes."""
    data = b"\xef\xbb\xbf\xff\xfe" + bytes(range(256))
    assert join_bytes([source(data)])[0] == data


def test_one_source_is_not_copied() -> None:
    """100 MB of bytes are handed on, not doubled."""
    only = source(b"text" * 1000)
    assert join_bytes([only])[0] is only.data


def test_decoding_takes_one_copy() -> None:
    """Of an ASCII text, memory grows by the text itself and little more."""
    only = source(b"All the world's a stage\n" * 200_000)
    tracemalloc.start()
    text, _ = decode([only])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(text) == len(only.data)
    assert peak < 1.05 * len(text)
