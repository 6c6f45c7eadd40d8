"""Tokenize text into Unicode characters."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from charnn.arrays import Ids
from charnn.errors import DataError
from charnn.tokenizers import symbol_vocabulary
from charnn.tokenizers.tokenizer import DEFAULTS, Encoded, Text, Tokenizer, VocabularyOptions
from charnn.tokenizers.utf8 import from_utf8

SLICE = 1 << 20  # characters encoded per call; bounds the memory for their code points
CODE_POINTS = 0x110000
_PRE_TOKENIZER = {"type": "FixedLength", "length": 1}


class CharTokenizer(Tokenizer):
    """A tokenizer with a token per character; out-of-vocabulary characters are `<unk>`."""

    kind = "char"
    reads_bytes = False
    tokens_are_chars = True
    unk_id: int

    def __init__(self, pieces: Sequence[bytes], unk_id: int) -> None:
        super().__init__(pieces, unk_id)

    @classmethod
    def build(cls, text: Text, options: VocabularyOptions = DEFAULTS) -> Self:
        """Return a tokenizer of the characters of a text, by code point, then `<unk>`."""
        options.refuse(cls.kind, "word_pattern")
        counts = np.zeros(CODE_POINTS, np.int64)
        for _, part in _slices(from_utf8(text)):
            present = np.bincount(code_points(part))
            counts[: len(present)] += present
        counts[0xD800:0xE000] = 0  # surrogates have no UTF-8 encoding
        codes = np.flatnonzero(counts >= options.min_count).tolist()
        frequent = {code: int(counts[code]) for code in codes}
        kept = sorted(symbol_vocabulary.most_frequent(frequent, options.vocab_size))
        return cls([*(chr(code).encode() for code in kept), symbol_vocabulary.UNK_PIECE], len(kept))

    def encode(self, text: Text) -> Encoded:
        """Return the id of each character, (N,)."""
        text = from_utf8(text)
        ids, unknown = np.empty(len(text), self.dtype), symbol_vocabulary.no_offsets()
        for start, part in _slices(text):
            part_ids = ids[start : start + len(part)]
            np.take(self._ids, code_points(part), out=part_ids)
            for offset in np.flatnonzero(part_ids == self.unk_id).tolist():
                unknown[part[offset]].append(start + offset)
        return Encoded(ids, unknown)

    @cached_property
    def _ids(self) -> Ids:
        """Return the id of every code point, (CODE_POINTS,)."""
        ids = np.full(CODE_POINTS, self.unk_id, self.dtype)
        for index, piece in enumerate(self.pieces):
            if index != self.unk_id:
                ids[ord(piece.decode())] = index
        return ids

    def safe_cut(self, text: str) -> int:
        """Return the end of the text, which can be cut after any character."""
        return len(text)

    def to_json(self) -> dict[str, Any]:
        """Return `pre_tokenizer`, `decoder` and `model` of tokenizer.json."""
        return {
            "pre_tokenizer": _PRE_TOKENIZER,
            **symbol_vocabulary.to_json(self.pieces, self.unk_id),
        }

    @classmethod
    def wrote(cls, pre_tokenizer: Mapping[str, Any]) -> bool:
        """Return whether a tokenizer.json with this `pre_tokenizer` is of this kind."""
        return pre_tokenizer.get("type") == "FixedLength"

    @classmethod
    def from_json(cls, document: Mapping[str, Any], names: Sequence[str]) -> Self:
        """Return the tokenizer of a tokenizer.json. Raise DataError if it is invalid."""
        pieces, unk_id = symbol_vocabulary.from_json(document, names)
        if any(len(name) != 1 for index, name in enumerate(names) if index != unk_id):
            raise DataError("a token has more than one character")
        return cls(pieces, unk_id)


def code_points(text: str) -> Ids:
    """Return the code points of a text, (N,): `u1` for ASCII, else `u4`."""
    if text.isascii():  # needs a quarter of the memory
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _slices(text: str) -> Iterator[tuple[int, str]]:
    """Yield the offset and the text of each SLICE characters."""
    for start in range(0, len(text), SLICE):
        yield start, text[start : start + SLICE]
