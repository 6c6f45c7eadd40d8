"""The interface of all tokenizers: convert text to token ids and back, without loss."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.config import flag
from charnn.errors import UsageError
from charnn.tokenizers.utf8 import count_chars

Text = str | bytes


@dataclass(frozen=True)
class VocabularyOptions:
    """Options for building a vocabulary; each kind of tokenizer accepts some of them.

    `vocab_size` is the maximum size of the vocabulary, including `<unk>`. Symbols that occur fewer
    than `min_count` times become `<unk>`. `word_pattern` is the regular expression of a word.
    """

    vocab_size: int | None = None
    min_count: int = 1
    word_pattern: str | None = None

    def refuse(self, kind: str, *names: str) -> None:
        """Raise UsageError if one of these options, which `kind` does not accept, is set."""
        for name in names:
            if getattr(self, name) != getattr(DEFAULTS, name):
                raise UsageError(f"{flag(name)} cannot be used with --tokenizer {kind}")


DEFAULTS = VocabularyOptions()


@dataclass(frozen=True)
class Encoded:
    """Token ids of a text, (N,), and its out-of-vocabulary symbols.

    `unknown` maps each out-of-vocabulary symbol to its offsets in the text, in characters.
    """

    ids: Ids
    unknown: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def unknown_in_order(self) -> list[str]:
        """Return the symbol of each out-of-vocabulary token, in the order of the text."""
        places = ((at, symbol) for symbol, offsets in self.unknown.items() for at in offsets)
        return [symbol for _, symbol in sorted(places)]


class Tokenizer(ABC):
    """A vocabulary, and the rule that splits text into its tokens.

    `pieces[id]` is the text of a token in UTF-8. `unk_id` is the id of out-of-vocabulary symbols;
    it is None for a tokenizer that can encode every text.
    """

    kind: ClassVar[str]  # the name in the registry and on the command line
    reads_bytes: ClassVar[bool]  # encodes raw bytes, without decoding them
    tokens_are_chars: ClassVar[bool]  # token i of a text is character i

    def __init__(self, pieces: Sequence[bytes], unk_id: int | None = None) -> None:
        self.pieces = list(pieces)
        self.unk_id = unk_id
        self.dtype = smallest_dtype(len(self.pieces))

    @property
    def vocab_size(self) -> int:
        """Return the number of token types V, including `<unk>`."""
        return len(self.pieces)

    @cached_property
    def newline_id(self) -> int | None:
        """Return the id of the newline; None if it is not in the vocabulary."""
        newline = b"\n"
        return self.pieces.index(newline) if newline in self.pieces else None

    @cached_property
    def byte_lengths(self) -> Integers:
        """Return the number of bytes of each token, (V,); 0 for `<unk>`."""
        return self._lengths(len)

    @cached_property
    def char_lengths(self) -> Integers:
        """Return the number of characters that begin in each token, (V,); 0 for `<unk>`."""
        return self._lengths(count_chars)

    def _lengths(self, measure: Callable[[bytes], int]) -> Integers:
        lengths = np.array([measure(piece) for piece in self.pieces], np.int64)
        if self.unk_id is not None:
            lengths[self.unk_id] = 0
        return lengths

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the UTF-8 of the ids; `<unk>` becomes U+FFFD."""
        return b"".join([self.pieces[index] for index in ids])

    @classmethod
    @abstractmethod
    def build(cls, text: Text, options: VocabularyOptions = DEFAULTS) -> Self:
        """Build a tokenizer from a text.

        Raise UsageError for an option that this kind does not accept.
        """

    @abstractmethod
    def encode(self, text: Text) -> Encoded:
        """Return the ids of a text, (N,), in `dtype`, and its out-of-vocabulary symbols.

        Bytes are decoded as UTF-8, with U+FFFD for invalid bytes, unless `reads_bytes` is set.
        """

    def encode_records(self, text: Text) -> Encoded:
        """Return the ids of lines, (N,), each encoded as a text of its own and then a newline.

        The newline must be in the vocabulary, and the last character of the text.
        """
        return self.encode(text)  # right where no token crosses the end of a line

    @abstractmethod
    def safe_cut(self, text: str) -> int:
        """Return the last position at which an unfinished text can be cut without changing ids.

        Return the end of the text if there is no such position.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return `pre_tokenizer`, `decoder` and `model` of tokenizer.json."""

    @classmethod
    @abstractmethod
    def wrote(cls, pre_tokenizer: Mapping[str, Any]) -> bool:
        """Return whether a tokenizer.json with this `pre_tokenizer` is of this kind."""

    @classmethod
    @abstractmethod
    def from_json(cls, document: Mapping[str, Any], names: Sequence[str]) -> Self:
        """Return the tokenizer of a tokenizer.json; `names` are its tokens in the order of ids.

        `pre_tokenizer` and `model` are objects; all other values are unchecked. The caller compares
        the document with the output of `to_json`. Raise DataError if the document is invalid.
        """


def smallest_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the smallest little-endian unsigned type that holds every id."""
    return np.dtype("<u1" if vocab_size <= 1 << 8 else "<u2" if vocab_size <= 1 << 16 else "<u4")


def lines(text: str) -> Iterator[str]:
    """Yield the lines of a text without their newlines; `str.splitlines` cuts elsewhere too."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def last_match(pattern: re.Pattern[str], text: str) -> int:
    """Return the start of the last match of a pattern; the end of the text if there is none."""
    start = len(text)
    for match in pattern.finditer(text):
        start = match.start()
    return start
