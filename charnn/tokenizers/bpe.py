"""Byte-pair encoding through the `tokenizers` library, with bounded memory.

The library writes bytes as characters of GPT-2's alphabet: a byte that prints stands for itself,
the others for the characters from U+0100 on.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from charnn.arrays import Ids

BATCH = 16  # parts handed to the library at once
# No byte-pair unit of GPT-2's pattern crosses from a non-space to a space or newline, nor from a
# Chinese character to a stop, so to cut a text there changes no id.
_SAFE_CUT = re.compile(r"(?<=\S)(?=[ \n])|(?<=[一-鿿])(?=[，。、；：？！])")


def _alphabet() -> dict[int, str]:
    prints = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in prints]
    return {value: chr(value) for value in prints} | {
        value: chr(0x100 + number) for number, value in enumerate(others)
    }


_CHARACTERS = _alphabet()
_VALUES = {character: value for value, character in _CHARACTERS.items()}


def to_alphabet(piece: bytes) -> str:
    """Bytes as characters of the alphabet."""
    return "".join([_CHARACTERS[value] for value in piece])


def from_alphabet(name: str) -> bytes:
    """The bytes that characters of the alphabet stand for. Raises KeyError for any other."""
    return bytes([_VALUES[character] for character in name])


def learn(parts: Iterable[str], vocab_size: int) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Pieces by id, the 256 bytes first, and the merges that made them, in order."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(parts, trainer)
    model = json.loads(library.to_str())["model"]
    names = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = [(from_alphabet(a), from_alphabet(b)) for a, b in model["merges"]]
    return [from_alphabet(name) for name in names], merges


class BytePairs:
    """The encoder of one vocabulary."""

    def __init__(self, pieces: Sequence[bytes], merges: Sequence[tuple[bytes, bytes]]) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers

        vocab = {to_alphabet(piece): index for index, piece in enumerate(pieces)}
        pairs = [(to_alphabet(first), to_alphabet(second)) for first, second in merges]
        self._library = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
        self._library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def encode(self, parts: Iterator[str], dtype: np.dtype[Any]) -> Ids:
        """The ids of all parts, in order, (N,)."""
        encoded = [np.empty(0, dtype)]
        while batch := [_without_surrogates(part) for part in islice(parts, BATCH)]:
            encodings = self._library.encode_batch_fast(batch, add_special_tokens=False)
            encoded += [np.array(encoding.ids, dtype) for encoding in encodings]
        return np.concatenate(encoded)


def _without_surrogates(part: str) -> str:
    """Lone surrogates, which no UTF-8 spells and the library refuses, as U+FFFD."""
    if part.isascii():
        return part
    return part.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cut_safely(text: str, size: int) -> Iterator[str]:
    """A text in parts of about `size` characters, cut where byte-pair units cannot notice."""
    start = 0
    while start < len(text):
        cut = _SAFE_CUT.search(text, start + size)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end
