"""Decode the bytes of sources to one text: encodings, byte order marks, line ends."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import AnyStr, Literal

from charnn.data.sources import STDIN, UTF16_MARKS, Source
from charnn.errors import DataError, UsageError

Newlines = Literal["keep", "lf"]
Errors = Literal["strict", "replace"]


class UndecodableError(DataError):
    """Bytes that are no text in the encoding that they should have."""


@dataclass(frozen=True)
class TextReport:
    """What was met on the way from bytes to text, as counts."""

    byte_order_marks: tuple[str, ...] = ()  # names of the sources that had one; it is dropped
    crlf: int = 0  # line ends \r\n
    lone_cr: int = 0  # line ends \r
    newlines: Newlines = "keep"
    replaced: int = 0  # U+FFFD put in the place of bytes that could not be decoded
    nul: int = 0  # NUL characters kept in a text

    @property
    def notes(self) -> tuple[str, ...]:
        """The same as sentences, one for each thing met."""
        done = (
            "turned into LF" if self.newlines == "lf" else "kept; --newlines lf turns them into LF"
        )
        told = [f"{name}: byte order mark dropped" for name in self.byte_order_marks]
        if self.crlf or self.lone_cr:
            told.append(f"line ends: {self.crlf:,} CRLF and {self.lone_cr:,} lone CR {done}")
        if self.replaced:
            told.append(f"{self.replaced:,} undecodable places became U+FFFD")
        if self.nul:
            told.append(f"{self.nul:,} NUL characters kept: is this a text?")
        return tuple(told)


def decode(
    sources: Sequence[Source],
    *,
    encoding: str = "utf-8",
    errors: Errors = "strict",
    newlines: Newlines = "keep",
) -> tuple[str, TextReport]:
    """The sources as one text, a newline between two where one is missing.

    Nothing else is changed but a byte order mark at the start of a source, and, with `newlines`
    "lf", line ends. Raises DataError where bytes cannot be decoded or nothing but white space is
    left, UsageError for an unknown encoding.
    """
    _check_encoding(encoding)
    texts: list[str] = []
    marked: list[str] = []
    replaced = 0
    for source in sources:
        text, places = _decode(source, encoding, errors)
        if text.startswith("\ufeff"):
            marked.append(source.name)
            text = text[1:]
        texts.append(text)
        replaced += places
    text, crlf, lone_cr = _settle_newlines(_join(texts, "\n", "\r"), "\n", "\r", newlines)
    _refuse_blank(text, sources)
    report = TextReport(tuple(marked), crlf, lone_cr, newlines, replaced, text.count("\0"))
    return text, report


def join_bytes(
    sources: Sequence[Source], *, newlines: Newlines = "keep"
) -> tuple[bytes, TextReport]:
    """The sources as they are, a newline between two where one is missing; one is not copied.

    Raises DataError where there is nothing but white space.
    """
    joined = _join([source.data for source in sources], b"\n", b"\r")
    data, crlf, lone_cr = _settle_newlines(joined, b"\n", b"\r", newlines)
    _refuse_blank(data, sources)
    return data, TextReport(crlf=crlf, lone_cr=lone_cr, newlines=newlines)


def _join(texts: Sequence[AnyStr], lf: AnyStr, cr: AnyStr) -> AnyStr:
    pieces: list[AnyStr] = []
    for text in filter(None, texts):
        if pieces and pieces[-1][-1:] not in (lf, cr):
            pieces.append(lf)
        pieces.append(text)
    return pieces[0] if len(pieces) == 1 else lf[:0].join(pieces)  # do not copy 100 MB for nothing


def _settle_newlines(
    text: AnyStr, lf: AnyStr, cr: AnyStr, newlines: Newlines
) -> tuple[AnyStr, int, int]:
    """The text, and how many line ends CRLF and lone CR it had."""
    all_cr = text.count(cr)
    crlf = text.count(cr + lf) if all_cr else 0
    if all_cr and newlines == "lf":
        text = text.replace(cr + lf, lf).replace(cr, lf)
    return text, crlf, all_cr - crlf


def _refuse_blank(text: str | bytes, sources: Sequence[Source]) -> None:
    if text and not text.isspace():
        return
    names = ", ".join(_shown(source.name) for source in sources) or "the input"
    raise DataError(f"{names}: {'nothing but white space' if text else 'empty'}, so not a text")


def _shown(name: str) -> str:
    return "standard input" if name == STDIN else name


def _check_encoding(encoding: str) -> None:
    try:
        b"\xff".decode(encoding, "replace")  # refuses hex and idna too, which are no encodings
    except (LookupError, ValueError):
        raise UsageError(
            f"--encoding {encoding} is not known",
            "for example utf-8, utf-16, latin-1, cp1252, gb18030, shift_jis",
        ) from None


def _decode(source: Source, encoding: str, errors: Errors) -> tuple[str, int]:
    """The text, and in how many places U+FFFD stands for what could not be decoded."""
    data = source.data
    if codecs.lookup(encoding).name == "utf-8" and data.startswith(UTF16_MARKS):
        raise DataError(f"{_shown(source.name)} is UTF-16, not UTF-8", "--encoding utf-16")
    try:
        return data.decode(encoding), 0
    except UnicodeError as error:
        if errors == "strict":
            raise _undecodable(source, encoding, getattr(error, "start", 0)) from None
    text = data.decode(encoding, "replace")
    genuine = data.decode(encoding, "ignore").count("\ufffd")  # those the text itself contains
    return text, text.count("\ufffd") - genuine


def _undecodable(source: Source, encoding: str, offset: int) -> UndecodableError:
    line = source.data[:offset].decode(encoding, "replace").count("\n") + 1
    return UndecodableError(
        f"{_shown(source.name)}: byte 0x{source.data[offset]:02x} at offset {offset:,}, "
        f"line {line:,}, is not valid {encoding.upper()}",
        "give its --encoding (latin-1, cp1252, gb18030, …), or --errors replace for U+FFFD",
    )
