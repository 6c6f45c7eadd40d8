"""Word tokenizer."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from charnn.config import LONGEST_PATTERN
from charnn.errors import DataError, UsageError
from charnn.tokenizers import symbol_vocabulary
from charnn.tokenizers.symbol_vocabulary import Offsets
from charnn.tokenizers.tokenizer import (
    DEFAULTS,
    Encoded,
    Text,
    Tokenizer,
    VocabularyOptions,
    lines,
)
from charnn.tokenizers.utf8 import from_utf8

# A word is a sequence of characters other than spaces and punctuation, with inner apostrophes.
# \w is not used, because regex engines disagree on it, and `re` splits words at combining marks.
_PUNCTUATION = r"!-/:-@\[-`{-~¡-¿‐-‧‰-⁞、-〿！-／：-＠"
WORD_PATTERN = rf" ?[^\s{_PUNCTUATION}]+(?:['’][^\s{_PUNCTUATION}]+)*| ?[{_PUNCTUATION}]|\s"


class WordTokenizer(Tokenizer):
    """A tokenizer with a token per word and its leading space; other words are `<unk>`."""

    kind = "word"
    reads_bytes = False
    tokens_are_chars = False
    unk_id: int

    def __init__(self, pieces: Sequence[bytes], unk_id: int, pattern: str = WORD_PATTERN) -> None:
        super().__init__(pieces, unk_id)
        self.pattern = compile_word_pattern(pattern)

    @classmethod
    def build(cls, text: Text, options: VocabularyOptions = DEFAULTS) -> Self:
        """Return a tokenizer of the words of a text, the most frequent first, then `<unk>`."""
        pattern = options.word_pattern or WORD_PATTERN
        counts = Counter(split_words(from_utf8(text), compile_word_pattern(pattern)))
        frequent = {
            word: count
            for word, count in counts.items()
            if count >= options.min_count and not _has_surrogates(word)
        }
        kept = symbol_vocabulary.most_frequent(frequent, options.vocab_size)
        return cls([*map(str.encode, kept), symbol_vocabulary.UNK_PIECE], len(kept), pattern)

    def encode(self, text: Text) -> Encoded:
        """Return the id of each word, (N,)."""
        unknown = symbol_vocabulary.no_offsets()
        ids = np.fromiter(self._look_up(from_utf8(text), unknown), self.dtype)
        return Encoded(ids, unknown)

    def encode_records(self, text: Text) -> Encoded:
        """Return the ids of lines, (N,). A word pattern other than WORD_PATTERN can cross lines."""
        unknown = symbol_vocabulary.no_offsets()
        ids = np.fromiter(self._look_up_lines(from_utf8(text), unknown), self.dtype)
        return Encoded(ids, unknown)

    def _look_up_lines(self, text: str, unknown: Offsets) -> Iterator[int]:
        assert self.newline_id is not None
        offset = 0
        for line in lines(text):
            yield from self._look_up(line, unknown, offset)
            yield self.newline_id
            offset += len(line) + 1

    def _look_up(self, text: str, unknown: Offsets, offset: int = 0) -> Iterator[int]:
        """Yield the id of each word; add the offset of each `<unk>` to `unknown`."""
        ids, unk_id = self._ids, self.unk_id
        for word in split_words(text, self.pattern):
            index = ids.get(word, unk_id)
            if index == unk_id:
                unknown[word].append(offset)
            offset += len(word)
            yield index

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Return the id of every word in the vocabulary."""
        pieces = enumerate(self.pieces)
        return {piece.decode(): index for index, piece in pieces if index != self.unk_id}

    def safe_cut(self, text: str) -> int:
        """Return the start of the last word if it begins with white space, else of that before it.

        A custom pattern whose matches depend on more text around them can give other ids.
        """
        start = end = before = 0
        for word in split_words(text, self.pattern):
            before, start, end = start, end, end + len(word)
        cut = start if text[start : start + 1].isspace() else before
        return cut or len(text)

    def to_json(self) -> dict[str, Any]:
        """Return `pre_tokenizer`, `decoder` and `model` of tokenizer.json."""
        pre_tokenizer = {
            "type": "Split",
            "pattern": {"Regex": self.pattern.pattern},
            "behavior": "Isolated",
            "invert": False,
        }
        return {
            "pre_tokenizer": pre_tokenizer,
            **symbol_vocabulary.to_json(self.pieces, self.unk_id),
        }

    @classmethod
    def wrote(cls, pre_tokenizer: Mapping[str, Any]) -> bool:
        """Return whether a tokenizer.json with this `pre_tokenizer` is of this kind."""
        return pre_tokenizer.get("type") == "Split"

    @classmethod
    def from_json(cls, document: Mapping[str, Any], names: Sequence[str]) -> Self:
        """Return the tokenizer of a tokenizer.json. Raise DataError if it is invalid."""
        match document["pre_tokenizer"]:
            case {"pattern": {"Regex": str(pattern)}} if len(pattern) <= LONGEST_PATTERN:
                pieces, unk_id = symbol_vocabulary.from_json(document, names)
            case _:
                raise DataError("its word pattern is missing or too long")
        try:
            return cls(pieces, unk_id, pattern)
        except UsageError as error:
            raise DataError(f"its word pattern: {error.message}") from None


def split_words(text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    """Yield the matches of a pattern in a text, and the text between them."""
    end = 0
    for match in pattern.finditer(text):
        start = match.start()
        if start > end:
            yield text[end:start]
        if word := match[0]:
            yield word
        end = match.end()
    if end < len(text):
        yield text[end:]


def compile_word_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a word pattern from a user or a file. Raise UsageError if it is invalid."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning about nested sets
            return re.compile(pattern)
    except re.error as error:
        place = f" at character {error.pos}" if error.pos is not None else ""
        raise UsageError(f"--word-pattern {pattern!r}: {error.msg}{place}") from None
    except (RecursionError, OverflowError) as error:
        raise UsageError(f"--word-pattern: {error}", "use a simpler pattern") from None


def _has_surrogates(word: str) -> bool:
    return not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word)
