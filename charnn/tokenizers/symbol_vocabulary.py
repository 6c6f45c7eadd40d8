"""Vocabularies of characters or words, with `<unk>` for out-of-vocabulary symbols.

In Hugging Face `tokenizers` the model is WordLevel.
"""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from charnn.errors import DataError
from charnn.escape import REPLACEMENT

UNK = "<unk>"
UNK_PIECE = REPLACEMENT.encode()

Symbol = TypeVar("Symbol", int, str)
Offsets = defaultdict[str, "array[int]"]  # symbol -> its offsets in a text, in characters


def no_offsets() -> Offsets:
    """Return an empty mapping; an offset takes eight bytes."""
    return defaultdict(lambda: array("q"))


def most_frequent(counts: Mapping[Symbol, int], vocab_size: int | None) -> list[Symbol]:
    """Return at most `vocab_size` - 1 symbols, the most frequent first, ties sorted."""
    ordered = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    return ordered if vocab_size is None else ordered[: vocab_size - 1]


def to_json(pieces: Sequence[bytes], unk_id: int) -> dict[str, Any]:
    """Return the decoder and the model of a vocabulary."""
    names = [piece.decode() for piece in pieces]
    unk_token = UNK
    while unk_token in names:  # a corpus may contain the word <unk>
        unk_token = f"<{unk_token}>"
    names[unk_id] = unk_token
    vocab = {name: index for index, name in enumerate(names)}
    return {
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": unk_token},
    }


def from_json(document: Mapping[str, Any], names: Sequence[str]) -> tuple[list[bytes], int]:
    """Return the pieces and the id of `<unk>`. Raise DataError if the document is invalid."""
    unk_token = document["model"].get("unk_token")
    if unk_token not in names:
        raise DataError("its unk_token is not in its vocabulary")
    try:
        pieces = [name.encode() for name in names]
    except UnicodeEncodeError:
        raise DataError("a token is not valid Unicode") from None
    unk_id = names.index(unk_token)
    pieces[unk_id] = UNK_PIECE
    return pieces, unk_id
