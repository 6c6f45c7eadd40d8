"""Vocabularies of byte sequences, for bytes and byte pairs, which have no `<unk>`.

The model is byte-level BPE in the terms of Hugging Face `tokenizers`, which writes a byte as a
character of GPT-2's alphabet: a printable byte as itself, the others as the characters from U+0100.
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
    """Return bytes as characters of the alphabet."""
    return "".join([_CHARACTERS[value] for value in piece])


def from_alphabet(name: str) -> bytes:
    """Return the bytes of characters of the alphabet. Raises KeyError for any other."""
    return bytes([_VALUES[character] for character in name])


def pre_tokenizer(*, use_regex: bool) -> dict[str, Any]:
    """Return the pre-tokenizer; with `use_regex` it splits text by GPT-2's pattern."""
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
    """Return the pieces and the merges. Raises DataError."""
    try:
        pieces = [from_alphabet(name) for name in names]
    except KeyError:
        raise DataError("a token is outside the alphabet of bytes") from None
    singles = {piece for piece in pieces if len(piece) == 1}
    if len(singles) != BYTES or not all(pieces):
        raise DataError(f"it does not hold all {BYTES} bytes")
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
                raise DataError("a merge is not of two known tokens to a third")
    return checked
