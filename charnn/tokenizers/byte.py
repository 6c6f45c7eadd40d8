"""Tokenize text into bytes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from charnn.arrays import Ids
from charnn.tokenizers import byte_vocabulary
from charnn.tokenizers.tokenizer import DEFAULTS, Text, Tokenizer, VocabularyOptions
from charnn.tokenizers.utf8 import to_utf8


class ByteTokenizer(Tokenizer):
    """One token for each of the 256 bytes, whose value is its id."""

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

    def encode(self, text: Text) -> Ids:
        """Return bytes, or the UTF-8 of a text, as an array, (N,)."""
        return np.frombuffer(to_utf8(text) if isinstance(text, str) else text, self.dtype)

    def unknown_symbols(self, text: Text, ids: Ids) -> Iterator[tuple[int, str]]:
        """Yield nothing: every byte is in the vocabulary."""
        return iter(())

    def safe_cut(self, text: str) -> int:
        """Return the end of the text: it can be cut after every byte."""
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
        """Return the tokenizer; the document has no choices."""
        return cls()
