"""Read and write tokenizer.json in the format of Hugging Face `tokenizers`.

What is read must have exactly the shape that is written: no normalizer, padding, truncation or
added tokens can be smuggled in, and nothing but checked values ever reaches the library.
"""

import json
from typing import Any

from charnn.config import LONGEST_PATTERN
from charnn.errors import DataError, UsageError
from charnn.storage import jsonio
from charnn.tokenizers.bpe import from_alphabet, to_alphabet
from charnn.tokenizers.tokenizer import BYTES, REPLACEMENT, Tokenizer
from charnn.tokenizers.words import compiled

NAME = "the tokenizer"
UNK = "<unk>"

_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}
_BPE_MODEL = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
}


def dump_tokenizer(tokenizer: Tokenizer) -> str:
    """The JSON of a tokenizer; equal tokenizers give equal text."""
    kind = tokenizer.kind
    if kind in ("byte", "bpe"):
        names = [to_alphabet(piece) for piece in tokenizer.pieces]
        merges = [[to_alphabet(a), to_alphabet(b)] for a, b in tokenizer.merges]
        model: dict[str, Any] = {"vocab": _numbered(names), "merges": merges}
    else:
        names = [piece.decode() for piece in tokenizer.pieces]
        unk_token = UNK
        while unk_token in names:  # a corpus may contain the word <unk>
            unk_token = f"<{unk_token}>"
        assert tokenizer.unk_id is not None
        names[tokenizer.unk_id] = unk_token
        model = {"vocab": _numbered(names), "unk_token": unk_token}
    return json.dumps(_document(kind, tokenizer.word_pattern, model), ensure_ascii=False)


def load_tokenizer(text: str) -> Tokenizer:
    """The tokenizer in a JSON text. Raises DataError for what `dump_tokenizer` never writes."""
    document = jsonio.parse_json_object(text, NAME)
    kind = _kind(document)
    pattern = _pattern(document) if kind == "word" else ""
    model = document["model"]
    names = _names(model)
    own = ("vocab", "merges") if kind in ("byte", "bpe") else ("vocab", "unk_token")
    given = {key: model[key] for key in own if key in model}
    if document != _document(kind, pattern, given):
        raise DataError(f"{NAME} has settings that charnn never writes")
    if kind in ("byte", "bpe"):
        return _load_bytes(kind, names, model)
    return _load_symbols(kind, names, model, pattern)


def _document(kind: str, pattern: str, model: dict[str, Any]) -> dict[str, Any]:
    """The whole of a tokenizer.json around its vocabulary."""
    of_bytes = kind in ("byte", "bpe")
    pre_tokenizers: dict[str, dict[str, Any]] = {
        "char": {"type": "FixedLength", "length": 1},
        "word": {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        },
        "byte": {**_BYTE_LEVEL, "add_prefix_space": False, "use_regex": False},
        "bpe": {**_BYTE_LEVEL, "add_prefix_space": False},
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizers[kind],
        "post_processor": None,
        "decoder": _BYTE_LEVEL if of_bytes else {"type": "Fuse"},
        "model": {**(_BPE_MODEL if of_bytes else {"type": "WordLevel"}), **model},
    }


def _numbered(names: list[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _kind(document: dict[str, Any]) -> str:
    pre_tokenizer = document.get("pre_tokenizer")
    if not isinstance(pre_tokenizer, dict) or not isinstance(document.get("model"), dict):
        raise DataError(f"{NAME} is damaged: it has no pre_tokenizer or no model")
    by_type = {"FixedLength": "char", "Split": "word", "ByteLevel": "bpe"}
    kind = by_type.get(str(pre_tokenizer.get("type")))
    if kind is None:
        raise DataError(f"{NAME} is of a kind that charnn never writes")
    return "byte" if kind == "bpe" and pre_tokenizer.get("use_regex") is False else kind


def _pattern(document: dict[str, Any]) -> str:
    holder = document["pre_tokenizer"].get("pattern")
    pattern = holder.get("Regex") if isinstance(holder, dict) else None
    if not isinstance(pattern, str) or len(pattern) > LONGEST_PATTERN:
        raise DataError(f"{NAME} is damaged: its word pattern is missing or too long")
    try:
        compiled(pattern)
    except UsageError as error:
        raise DataError(f"{NAME} is damaged: its word pattern: {error.message}") from None
    return pattern


def _names(model: dict[str, Any]) -> list[str]:
    """The tokens in the order of their ids, which must be 0 … V-1, each once."""
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not vocab:
        raise DataError(f"{NAME} is damaged: it has no vocabulary")
    ids = list(vocab.values())
    if not all(type(index) is int for index in ids) or sorted(ids) != list(range(len(ids))):
        raise DataError(f"{NAME} is damaged: its ids are not 0 to {len(ids) - 1}, each once")
    return sorted(vocab, key=vocab.__getitem__)


def _load_symbols(kind: str, names: list[str], model: dict[str, Any], pattern: str) -> Tokenizer:
    unk_token = model.get("unk_token")
    if unk_token not in names:
        raise DataError(f"{NAME} is damaged: its unk_token is not in its vocabulary")
    unk_id = names.index(unk_token)
    try:
        pieces = [name.encode() for name in names]
    except UnicodeEncodeError:
        raise DataError(f"{NAME} is damaged: a token is no text") from None
    lengths = {len(name) for index, name in enumerate(names) if index != unk_id}
    if kind == "char" and lengths - {1}:
        raise DataError(f"{NAME} is damaged: a character is longer than one")
    pieces[unk_id] = REPLACEMENT
    return Tokenizer(kind, pieces, unk_id=unk_id, word_pattern=pattern)


def _load_bytes(kind: str, names: list[str], model: dict[str, Any]) -> Tokenizer:
    try:
        pieces = [from_alphabet(name) for name in names]
    except KeyError:
        raise DataError(f"{NAME} is damaged: a token is outside the alphabet of bytes") from None
    singles = {piece for piece in pieces if len(piece) == 1}
    if len(singles) != BYTES or not all(pieces):
        raise DataError(f"{NAME} is damaged: it does not hold all {BYTES} bytes")
    if kind == "byte" and pieces != [bytes([value]) for value in range(BYTES)]:
        raise DataError(f"{NAME} is damaged: its ids are not the values of bytes")
    return Tokenizer(kind, pieces, merges=_merges(model, set(names)))


def _merges(model: dict[str, Any], names: set[str]) -> list[tuple[bytes, bytes]]:
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise DataError(f"{NAME} is damaged: it has no list of merges")
    for merge in merges:
        parts = isinstance(merge, list) and [part for part in merge if isinstance(part, str)]
        if not parts or len(parts) != 2 or len(merge) != 2 or not {*parts, "".join(parts)} <= names:  # noqa: PLR2004 - a pair
            raise DataError(f"{NAME} is damaged: a merge is not of two known tokens to a third")
    return [(from_alphabet(first), from_alphabet(second)) for first, second in merges]
