"""Tokenize text into bytes."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from charnn.tokenizers import byte_vocabulary
from charnn.tokenizers.tokenizer import DEFAULTS, Encoded, Text, Tokenizer, VocabularyOptions
from charnn.tokenizers.utf8 import to_utf8


class ByteTokenizer(Tokenizer):
    """A tokenizer with a token for each of the 256 bytes. The id of a byte is its value."""

    kind = "byte"
    reads_bytes = True
    tokens_are_chars = False

    def __init__(self) -> None:
        super().__init__([bytes([value]) for value in range(byte_vocabulary.BYTES)])

    @classmethod
    def build(cls, text: Text, options: VocabularyOptions = DEFAULTS) -> Self:
        """Return the tokenizer, which does not depend on the text."""
        options.refuse(cls.kind, "vocab_size", "min_count", "word_pattern")
        return cls()

    def encode(self, text: Text) -> Encoded:
        """Return the bytes, or the UTF-8 encoding of a `str`, (N,)."""
        return Encoded(np.frombuffer(_to_bytes(text), self.dtype))

    def safe_cut(self, text: str) -> int:
        """Return the end of the text, which can be cut after any byte."""
        return len(text)

    def to_json(self) -> dict[str, Any]:
        """Return `pre_tokenizer`, `decoder` and `model` of tokenizer.json."""
        return {
            "pre_tokenizer": byte_vocabulary.pre_tokenizer(use_regex=False),
            **byte_vocabulary.to_json(self.pieces, []),
        }

    @classmethod
    def wrote(cls, pre_tokenizer: Mapping[str, Any]) -> bool:
        """Return whether a tokenizer.json with this `pre_tokenizer` is of this kind."""
        return pre_tokenizer == byte_vocabulary.pre_tokenizer(use_regex=False)

    @classmethod
    def from_json(cls, document: Mapping[str, Any], names: Sequence[str]) -> Self:
        """Return the tokenizer, which does not depend on the document."""
        return cls()


def _to_bytes(text: Text) -> bytes:
    """Return the UTF-8 of a text; surrogates that encode invalid bytes (PEP 383) become bytes."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that does not encode a byte
        return to_utf8(text)
