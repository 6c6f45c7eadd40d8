"""Byte-pair encoding (BPE) with the `tokenizers` library, in bounded memory.

The library is imported to encode a text or build a vocabulary, but not to decode.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from charnn.errors import UsageError
from charnn.tokenizers import byte_vocabulary
from charnn.tokenizers.byte_vocabulary import BYTES, from_alphabet, to_alphabet
from charnn.tokenizers.tokenizer import (
    DEFAULTS,
    Encoded,
    Text,
    Tokenizer,
    VocabularyOptions,
    last_match,
    lines,
)
from charnn.tokenizers.utf8 import from_utf8

if TYPE_CHECKING:
    from tokenizers import Tokenizer as LibraryTokenizer

VOCAB_SIZE = 1024  # default: 256 bytes and 768 merges
# Approximate characters per part of a text. The library needs hundreds of bytes per character: with
# parts of 1 MiB ten times the memory, and no less time.
PART = 1 << 16
BATCH = 8  # parts per call of the library
LINES = 256  # lines per call of the library
# No match of GPT-2's pattern extends from a non-space to a space or newline, or from a Chinese
# character to a punctuation mark, so a cut there does not change the ids.
_SAFE_CUT = re.compile(r"(?<=\S)(?=[ \n])|(?<=[一-鿿])(?=[，。、；：？！])")


class BpeTokenizer(Tokenizer):
    """A byte-level BPE tokenizer: 256 bytes and merges, after splitting with GPT-2's pattern.

    Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", 2016.
    """

    kind = "bpe"
    reads_bytes = False
    tokens_are_chars = False

    def __init__(self, pieces: Sequence[bytes], merges: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__(pieces)
        self.merges = list(merges)

    @classmethod
    def build(cls, text: Text, options: VocabularyOptions = DEFAULTS) -> Self:
        """Learn the merges from a text."""
        options.refuse(cls.kind, "min_count", "word_pattern")
        size = VOCAB_SIZE if options.vocab_size is None else options.vocab_size
        if size < BYTES:
            raise UsageError(f"--vocab-size {size}: bpe needs at least {BYTES}, one per byte")
        return cls(*_train(map(_replace_surrogates, _parts(from_utf8(text))), size))

    def encode(self, text: Text) -> Encoded:
        """Return the ids of a text, (N,); every byte is in the vocabulary."""
        parts = map(_replace_surrogates, _parts(from_utf8(text)))
        ids = [np.array(part, self.dtype) for part in self._encode(parts, BATCH)]
        return Encoded(np.concatenate([np.empty(0, self.dtype), *ids]))

    def encode_records(self, text: Text) -> Encoded:
        """Return the ids of lines, (N,). In other texts a token can join spaces and a newline."""
        cleaned = map(_replace_surrogates, lines(from_utf8(text)))
        records = ([*ids, self.newline_id] for ids in self._encode(cleaned, LINES))
        return Encoded(np.fromiter(chain.from_iterable(records), self.dtype))

    def _encode(self, parts: Iterable[str], at_once: int) -> Iterator[list[int]]:
        """Yield the ids of each part; the library encodes `at_once` parts in parallel."""
        parts = iter(parts)
        while batch := list(islice(parts, at_once)):
            for encoding in self._library.encode_batch_fast(batch, add_special_tokens=False):
                yield encoding.ids

    @cached_property
    def _library(self) -> "LibraryTokenizer":
        from tokenizers import models

        vocab = {to_alphabet(piece): index for index, piece in enumerate(self.pieces)}
        merges = [(to_alphabet(first), to_alphabet(second)) for first, second in self.merges]
        return _split_by_pattern(models.BPE(vocab=vocab, merges=merges))

    def safe_cut(self, text: str) -> int:
        """Return the last position that no token crosses."""
        return last_match(_SAFE_CUT, text)

    def to_json(self) -> dict[str, Any]:
        """Return `pre_tokenizer`, `decoder` and `model` of tokenizer.json."""
        return {
            "pre_tokenizer": byte_vocabulary.pre_tokenizer(use_regex=True),
            **byte_vocabulary.to_json(self.pieces, self.merges),
        }

    @classmethod
    def wrote(cls, pre_tokenizer: Mapping[str, Any]) -> bool:
        """Return whether a tokenizer.json with this `pre_tokenizer` is of this kind."""
        return pre_tokenizer == byte_vocabulary.pre_tokenizer(use_regex=True)

    @classmethod
    def from_json(cls, document: Mapping[str, Any], names: Sequence[str]) -> Self:
        """Return the tokenizer of a tokenizer.json. Raise DataError if it is invalid."""
        return cls(*byte_vocabulary.from_json(document, names))


def _train(parts: Iterable[str], vocab_size: int) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Return the pieces by id, the 256 bytes first, and the merges in order."""
    from tokenizers import models, pre_tokenizers, trainers

    library = _split_by_pattern(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(parts, trainer)
    model = json.loads(library.to_str())["model"]
    names = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = [(from_alphabet(first), from_alphabet(second)) for first, second in model["merges"]]
    return [from_alphabet(name) for name in names], merges


def _split_by_pattern(model: Any) -> "LibraryTokenizer":
    """Return a tokenizer of the library that first splits text with GPT-2's pattern."""
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import pre_tokenizers

    library = LibraryTokenizer(model)
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return library


def _parts(text: str) -> Iterator[str]:
    """Yield a text in parts of about PART characters, cut at positions that no token crosses."""
    start = 0
    while start < len(text):
        cut = _SAFE_CUT.search(text, start + PART)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end


def _replace_surrogates(part: str) -> str:
    """Replace lone surrogates, which the library rejects, by U+FFFD."""
    if part.isascii():
        return part
    return part.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
