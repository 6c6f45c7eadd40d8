"""Vocabularies of byte sequences, for the byte and BPE tokenizers. They have no `<unk>`.

In Hugging Face `tokenizers` the model is byte-level BPE, which writes a byte as a character of
GPT-2's alphabet: a printable byte as itself, the others as characters from U+0100.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from charnn.errors import DataError

BYTES = 256
_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}


def _alphabet() -> list[str]:
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, BYTES)]
    others = (value for value in range(BYTES) if value not in printable)
    codes = {value: value for value in printable}
    codes |= {value: BYTES + number for number, value in enumerate(others)}
    return [chr(codes[value]) for value in range(BYTES)]


_CHARACTERS = _alphabet()
_VALUES = {character: value for value, character in enumerate(_CHARACTERS)}


def to_alphabet(piece: bytes) -> str:
    """Return bytes as characters of GPT-2's alphabet."""
    return "".join([_CHARACTERS[value] for value in piece])


def from_alphabet(name: str) -> bytes:
    """Return the bytes of characters of GPT-2's alphabet. Raise KeyError for other characters."""
    return bytes([_VALUES[character] for character in name])


def pre_tokenizer(*, use_regex: bool) -> dict[str, Any]:
    """Return the pre-tokenizer. If `use_regex` is set, it splits text with GPT-2's pattern."""
    return {**_BYTE_LEVEL, "add_prefix_space": False, "use_regex": use_regex}


def to_json(pieces: Sequence[bytes], merges: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Return the decoder and the model of a vocabulary."""
    return {
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {to_alphabet(piece): index for index, piece in enumerate(pieces)},
            "merges": [[to_alphabet(first), to_alphabet(second)] for first, second in merges],
        },
    }


def from_json(
    document: Mapping[str, Any], names: Sequence[str]
) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Return the pieces and the merges. Raise DataError if the document is invalid."""
    try:
        pieces = [from_alphabet(name) for name in names]
    except KeyError:
        raise DataError("a token has characters that do not encode bytes") from None
    singles = {piece for piece in pieces if len(piece) == 1}
    if len(singles) != BYTES or not all(pieces):
        raise DataError(f"it does not contain all {BYTES} bytes")
    return pieces, _merges(document["model"].get("merges"), set(names))


def _merges(merges: Any, names: set[str]) -> list[tuple[bytes, bytes]]:
    if not isinstance(merges, list):
        raise DataError("it has no list of merges")
    checked = []
    for merge in merges:
        match merge:
            case [str(first), str(second)] if {first, second, first + second} <= names:
                checked.append((from_alphabet(first), from_alphabet(second)))
            case _:
                raise DataError("a merge does not join two tokens into another token")
    return checked
