"""Decode the bytes of sources into one text: encodings, byte order marks, line endings."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import AnyStr

from charnn.config import STDIN, ErrorsName, NewlinesName, PrepareConfig
from charnn.data.sources import UTF16_MARKS, Source
from charnn.errors import DataError, UsageError
from charnn.escape import REPLACEMENT
from charnn.tokenizers.registry import TOKENIZERS
from charnn.tokenizers.tokenizer import Text


class UndecodableError(DataError):
    """Bytes that are not valid in the encoding of their source."""


@dataclass(frozen=True)
class TextReport:
    """Counts of unusual features of a text, for notes to the user."""

    byte_order_marks: tuple[str, ...] = ()  # names of the sources that had one, which is removed
    crlf: int = 0  # line endings \r\n
    lone_cr: int = 0  # line endings \r
    newlines: NewlinesName = "keep"
    replaced: int = 0  # occurrences of U+FFFD in place of undecodable bytes
    nul: int = 0  # NUL characters, which are kept

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each count that is not 0."""
        done = "converted to LF" if self.newlines == "lf" else "kept; --newlines lf converts them"
        notes = [f"{name}: byte order mark removed" for name in self.byte_order_marks]
        if self.crlf or self.lone_cr:
            kinds = {"CRLF (Windows)": self.crlf, "lone CR": self.lone_cr}
            found = " and ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
            notes.append(f"line endings: {found} {done}")
        if self.replaced:
            notes.append(f"{self.replaced:,} undecodable byte sequences replaced by U+FFFD")
        if self.nul:
            notes.append(f"{self.nul:,} NUL characters kept; is this a text file?")
        return tuple(notes)


def read_text(sources: Sequence[Source], config: PrepareConfig) -> tuple[Text, TextReport]:
    """Return the joined sources as the tokenizer of `config` reads them: decoded, or as bytes.

    Raise DataError and UsageError as `decode` and `join_bytes` do.
    """
    if TOKENIZERS[config.tokenizer].reads_bytes:
        return join_bytes(sources, newlines=config.newlines)
    return decode(sources, encoding=config.encoding, errors=config.errors, newlines=config.newlines)


def decode(
    sources: Sequence[Source],
    *,
    encoding: str = "utf-8",
    errors: ErrorsName = "strict",
    newlines: NewlinesName = "keep",
) -> tuple[str, TextReport]:
    """Decode the sources and join them; add a newline after a source that does not end in one.

    A byte order mark at the start of a source is removed. `newlines` "lf" replaces CRLF and lone
    CR by LF. Raise DataError if bytes cannot be decoded or the text is blank, UsageError if the
    encoding is unknown.
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
    text, crlf, lone_cr = _convert_newlines(_join(texts, "\n", "\r"), "\n", "\r", newlines)
    _refuse_blank(text, sources)
    report = TextReport(tuple(marked), crlf, lone_cr, newlines, replaced, text.count("\0"))
    return text, report


def join_bytes(
    sources: Sequence[Source], *, newlines: NewlinesName = "keep"
) -> tuple[bytes, TextReport]:
    """Join the bytes of the sources; add a newline after a source that does not end in one.

    `newlines` "lf" replaces CRLF and lone CR by LF. Raise DataError if the text is blank.
    """
    joined = _join([source.data for source in sources], b"\n", b"\r")
    data, crlf, lone_cr = _convert_newlines(joined, b"\n", b"\r", newlines)
    _refuse_blank(data, sources)
    return data, TextReport(crlf=crlf, lone_cr=lone_cr, newlines=newlines)


def _join(texts: Sequence[AnyStr], lf: AnyStr, cr: AnyStr) -> AnyStr:
    pieces: list[AnyStr] = []
    for text in filter(None, texts):
        if pieces and pieces[-1][-1:] not in (lf, cr):
            pieces.append(lf)
        pieces.append(text)
    return pieces[0] if len(pieces) == 1 else lf[:0].join(pieces)  # do not copy a single text


def _convert_newlines(
    text: AnyStr, lf: AnyStr, cr: AnyStr, newlines: NewlinesName
) -> tuple[AnyStr, int, int]:
    """Return the text, and the numbers of CRLF and lone CR before conversion."""
    all_cr = text.count(cr)
    crlf = text.count(cr + lf) if all_cr else 0
    if all_cr and newlines == "lf":
        text = text.replace(cr + lf, lf).replace(cr, lf)
    return text, crlf, all_cr - crlf


def _refuse_blank(text: str | bytes, sources: Sequence[Source]) -> None:
    if text and not text.isspace():
        return
    names = [_shown(source.name) for source in sources] or ["the input"]
    what = "white space only" if text else "empty"
    raise DataError(
        f"{', '.join(names)} {'are' if names[1:] else 'is'} {what}",
        "name a file that contains text",
    )


def _shown(name: str) -> str:
    return "standard input" if name == STDIN else name


def _check_encoding(encoding: str) -> None:
    try:
        b"\xff".decode(encoding, "replace")  # fails for codecs that are not text encodings: hex
    except (LookupError, ValueError):
        raise UsageError(
            f"--encoding {encoding} is not a known encoding",
            "use for example utf-8, utf-16, latin-1, cp1252, gb18030 or shift_jis",
        ) from None


def _decode(source: Source, encoding: str, errors: ErrorsName) -> tuple[str, int]:
    """Return the text and the number of undecodable byte sequences replaced by U+FFFD."""
    data = source.data
    if codecs.lookup(encoding).name == "utf-8" and data.startswith(UTF16_MARKS):
        raise DataError(f"{_shown(source.name)} is UTF-16, not UTF-8", "use --encoding utf-16")
    try:
        return data.decode(encoding), 0
    except UnicodeError as error:
        if errors == "strict":
            raise _undecodable(source, encoding, getattr(error, "start", 0)) from None
    text = data.decode(encoding, "replace")
    genuine = data.decode(encoding, "ignore").count(REPLACEMENT)  # U+FFFD in the text itself
    return text, text.count(REPLACEMENT) - genuine


def _undecodable(source: Source, encoding: str, offset: int) -> UndecodableError:
    line = source.data[:offset].decode(encoding, "replace").count("\n") + 1
    return UndecodableError(
        f"{_shown(source.name)}: byte 0x{source.data[offset]:02x} at offset {offset:,}, "
        f"line {line:,}, is not valid {encoding.upper()}",
        "set --encoding (latin-1, cp1252, gb18030, …), or --errors replace to insert U+FFFD",
    )
