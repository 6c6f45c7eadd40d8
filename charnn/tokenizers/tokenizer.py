"""The interface of every tokenizer: text to token ids and back, without loss."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.config import flag
from charnn.errors import UsageError
from charnn.tokenizers.utf8 import count_chars

Text = str | bytes


@dataclass(frozen=True)
class VocabularyOptions:
    """How a vocabulary is built from a text; a kind of tokenizer takes some of these options.

    `vocab_size` is the largest size of the vocabulary, `<unk>` included. Symbols that occur less
    than `min_count` times become `<unk>`. `word_pattern` is the regular expression of a word.
    """

    vocab_size: int | None = None
    min_count: int = 1
    word_pattern: str | None = None

    def refuse(self, kind: str, *names: str) -> None:
        """Raise UsageError if one of these options, which `kind` does not take, is set."""
        for name in names:
            if getattr(self, name) != getattr(DEFAULTS, name):
                raise UsageError(f"{flag(name)} does not go with --tokenizer {kind}")


DEFAULTS = VocabularyOptions()


@dataclass(frozen=True)
class Encoded:
    """Token ids of a text, (N,), and the symbols of the text that are outside the vocabulary.

    `unknown` maps each symbol that is `<unk>` to its offsets in the text, in characters.
    """

    ids: Ids
    unknown: Mapping[str, Sequence[int]] = field(default_factory=dict)


class Tokenizer(ABC):
    """A vocabulary, and how text is split into its tokens.

    `pieces[id]` is the text of a token in UTF-8. `unk_id` is the id of symbols outside the
    vocabulary; it is None for a tokenizer that can encode everything.
    """

    kind: ClassVar[str]  # its name in the registry and on the command line
    reads_bytes: ClassVar[bool]  # encodes bytes as they are, without decoding them
    tokens_are_chars: ClassVar[bool]  # token i of a text is its character i

    def __init__(self, pieces: Sequence[bytes], unk_id: int | None = None) -> None:
        self.pieces = list(pieces)
        self.unk_id = unk_id
        self.dtype = narrowest_dtype(len(self.pieces))

    @property
    def vocab_size(self) -> int:
        """Number of token types V, `<unk>` included."""
        return len(self.pieces)

    @property
    def byte_lengths(self) -> Integers:
        """Bytes of each token, (V,); 0 for `<unk>`."""
        return self._lengths(len)

    @property
    def char_lengths(self) -> Integers:
        """Characters that begin in each token, (V,); 0 for `<unk>`."""
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
        """Return a tokenizer with the vocabulary of a text.

        Raises UsageError for an option that this kind does not take.
        """

    @abstractmethod
    def encode(self, text: Text) -> Encoded:
        """Return the ids of a text, in `dtype`, and its symbols outside the vocabulary.

        Bytes are read as UTF-8, with U+FFFD for what is not valid, unless `reads_bytes`.
        """

    @abstractmethod
    def safe_cut(self, text: str) -> int:
        """Return the last place where a text that continues can be cut without changing its ids.

        It is the end of the text where there is no such place.
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

        `pre_tokenizer` and `model` are objects; all else is unchecked. The caller compares the
        document with what the result would write. Raises DataError.
        """


def narrowest_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the narrowest little-endian unsigned type that holds every id."""
    return np.dtype("<u1" if vocab_size <= 1 << 8 else "<u2" if vocab_size <= 1 << 16 else "<u4")


def last_match(pattern: re.Pattern[str], text: str) -> int:
    """Return the start of the last match of a pattern; the end of the text if there is none."""
    start = len(text)
    for match in pattern.finditer(text):
        start = match.start()
    return start
