"""Decoding of sources: encodings, byte order marks, line endings."""

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
    """Return a source with these bytes; its hash is not used here."""
    return Source(name, data, "0" * 64)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be", "gb18030"])
@given(text=TEXTS)
def test_decode_inverts_encode(encoding: str, text: str) -> None:
    """Text in any supported encoding is decoded unchanged."""
    assert decode([source(text.encode(encoding))], encoding=encoding)[0] == text


@pytest.mark.parametrize(
    "text",
    ["a\0b", "\x1b[31mred", "a\u2028b\x85c\x0bd\x0ce", "a\u200bb", "👩‍🔬", "\u00e9 e\u0301", "x\r"],
)
def test_special_characters_are_kept(text: str) -> None:
    """Controls, line separators, joiners and both forms of é are not normalized."""
    assert decode([source(text.encode())])[0] == text


@given(before=TEXTS, bad=st.sampled_from([b"\xff", b"\x80", b"\xe2\x82", b"\xed\xa0\x80"]))
def test_decoding_error_names_file_byte_offset_and_line(before: str, bad: bytes) -> None:
    """The error describes the first byte that is not valid UTF-8."""
    head = before.encode()
    with pytest.raises(DataError) as caught:
        decode([source(b"fine", "first.txt"), source(head + bad + b" after\n")])
    line = before.count("\n") + 1
    assert caught.value.message == (
        f"notes.txt: byte 0x{bad[0]:02x} at offset {len(head):,}, line {line:,}, is not valid UTF-8"
    )


def test_decoding_error_suggests_options() -> None:
    """The hint names --encoding and --errors; `prepare` adds --tokenizer byte."""
    with pytest.raises(DataError) as caught:
        decode([source(b"caf\xe9")])
    assert caught.value.exit_code == 65
    for remedy in ("--encoding", "--errors replace"):
        assert remedy in caught.value.hint


def test_replacements_are_counted() -> None:
    """Each undecodable byte sequence becomes one U+FFFD; those of the text itself do not count."""
    data = "one \ufffd two".encode() + b"\xff and \xc3( \xe2\x82"
    text, report = decode([source(data)], errors="replace")
    assert text == "one \ufffd two\ufffd and \ufffd( \ufffd"
    assert report.replaced == 3
    assert report.notes == ("3 undecodable byte sequences replaced by U+FFFD",)


def test_valid_text_has_no_replacements() -> None:
    """--errors replace does not change valid text."""
    assert decode([source("a\ufffdb".encode())], errors="replace") == ("a\ufffdb", TextReport())


@pytest.mark.parametrize("encoding", ["utf-8", "utf8", "utf-16", "utf-16-le", "utf-8-sig"])
def test_byte_order_mark_is_removed(encoding: str) -> None:
    """A mark at the start of a source is removed, in every encoding."""
    marked = "\ufeffone" if encoding != "utf-8-sig" else "one"
    sources = [source(marked.encode(encoding), "a.txt"), source("two".encode(encoding), "b.txt")]
    assert decode(sources, encoding=encoding)[0] == "one\ntwo"


def test_removed_byte_order_mark_is_reported() -> None:
    """The note names the file; a mark inside the text is an ordinary character."""
    text, report = decode([source(b"\xef\xbb\xbfa\xef\xbb\xbfb")])
    assert text == "a\ufeffb"
    assert report.notes == ("notes.txt: byte order mark removed",)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_utf16_is_detected(encoding: str) -> None:
    """UTF-16 read as UTF-8 is an error that names the option, also with --errors replace."""
    for errors in ("strict", "replace"):
        with pytest.raises(DataError) as caught:
            decode([source("text".encode(encoding))], errors=errors)  # type: ignore[arg-type]
        assert caught.value.message == "notes.txt is UTF-16, not UTF-8"
        assert caught.value.hint == "use --encoding utf-16"


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "idna", "undefined", "rot13", ""])
def test_unknown_encoding_is_a_usage_error(encoding: str) -> None:
    """Codecs that are not text encodings are refused before the sources are read."""
    with pytest.raises(UsageError, match="is not a known encoding"):
        decode([source(b"text")], encoding=encoding)


@given(text=st.text(st.sampled_from("a\r\n\u2028"), min_size=1).filter(lambda t: "a" in t))
def test_line_endings_are_counted_and_converted(text: str) -> None:
    """They are kept by default; `lf` converts only CRLF and lone CR to LF."""
    crlf = len(re.findall(r"\r\n", text))
    lone = len(re.findall(r"\r(?!\n)", text))
    kept, report = decode([source(text.encode())])
    assert (kept, report.crlf, report.lone_cr) == (text, crlf, lone)
    converted, report = decode([source(text.encode())], newlines="lf")
    assert converted == re.sub(r"\r\n?", "\n", text)
    assert (report.crlf, report.lone_cr) == (crlf, lone)
    assert join_bytes([source(text.encode())], newlines="lf")[0] == converted.encode()


def test_note_on_line_endings_names_the_option() -> None:
    """The note has the counts and, if line endings are kept, the option that converts them."""
    _, report = decode([source(b"a\r\nb\r\nc\rd")])
    assert report.notes == (
        "line endings: 2 CRLF (Windows) and 1 lone CR kept; --newlines lf converts them",
    )
    _, report = decode([source(b"a\r\nb")], newlines="lf")
    assert report.notes == ("line endings: 1 CRLF (Windows) converted to LF",)


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
def test_sources_are_joined_with_a_newline(parts: list[bytes], joined: bytes) -> None:
    """A newline is added between two sources only if the first does not end in one."""
    sources = [source(part) for part in parts]
    assert join_bytes(sources)[0] == joined
    assert decode(sources)[0] == joined.decode()


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", "\u3000\u2029".encode(), b"\xef\xbb\xbf"])
def test_blank_text_is_a_data_error(data: bytes) -> None:
    """An empty text or one of white space is an error."""
    with pytest.raises(DataError, match=r"^notes.txt is (empty|white space only)"):
        decode([source(data)])


def test_blank_bytes_are_a_data_error() -> None:
    """The error for bytes calls "-" standard input."""
    with pytest.raises(DataError, match=r"^a.txt, standard input are empty"):
        join_bytes([source(b"", "a.txt"), source(b"", "-")])


def test_nul_characters_are_reported() -> None:
    """NUL characters are kept, with a note."""
    text, report = decode([source(b"a\0b\0")])
    assert text == "a\0b\0"
    assert report.notes == ("2 NUL characters kept; is this a text file?",)


def test_join_bytes_keeps_all_bytes() -> None:
    """Every byte value, byte order marks and UTF-16 are kept."""
    data = b"\xef\xbb\xbf\xff\xfe" + bytes(range(256))
    assert join_bytes([source(data)])[0] == data


def test_single_source_is_not_copied() -> None:
    """`join_bytes` returns the same object for one source."""
    only = source(b"text" * 1000)
    assert join_bytes([only])[0] is only.data


def test_decoding_makes_one_copy() -> None:
    """Decoding an ASCII text allocates little more than the text itself."""
    only = source(b"All the world's a stage\n" * 200_000)
    tracemalloc.start()
    text, _ = decode([only])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(text) == len(only.data)
    assert peak < 1.05 * len(text)
