"""Read and write tokenizer.json in the format of Hugging Face `tokenizers`.

A file is accepted only if it equals the file that charnn would write for its tokenizer. So it has
no normalizer, padding, truncation or added tokens, and the library receives only checked values.
"""

import json
from typing import Any

from charnn.errors import DataError
from charnn.storage import jsonio
from charnn.tokenizers.registry import TOKENIZERS
from charnn.tokenizers.tokenizer import Tokenizer

NAME = "the tokenizer"


def dump_tokenizer(tokenizer: Tokenizer) -> str:
    """Return the JSON of a tokenizer. Equal tokenizers have equal JSON."""
    return json.dumps(_document(tokenizer), ensure_ascii=False)


def load_tokenizer(text: str) -> Tokenizer:
    """Return the tokenizer of a JSON text. Raise DataError if charnn would not write this JSON."""
    document = jsonio.parse_json_object(text, NAME)
    try:
        kind = _kind(document)
        tokenizer = kind.from_json(document, _names(document["model"].get("vocab")))
    except DataError as error:
        raise DataError(f"{NAME} is damaged: {error.message}") from None
    if document != _document(tokenizer):
        raise DataError(f"{NAME} has settings that charnn does not support")
    return tokenizer


def _document(tokenizer: Tokenizer) -> dict[str, Any]:
    own = tokenizer.to_json()
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": own["pre_tokenizer"],
        "post_processor": None,
        "decoder": own["decoder"],
        "model": own["model"],
    }


def _kind(document: dict[str, Any]) -> type[Tokenizer]:
    """Return the class of the tokenizer in a document, from its pre-tokenizer."""
    pre_tokenizer = document.get("pre_tokenizer")
    if not isinstance(pre_tokenizer, dict) or not isinstance(document.get("model"), dict):
        raise DataError("it has no pre_tokenizer or no model")
    for kind in TOKENIZERS.values():
        if kind.wrote(pre_tokenizer):
            return kind
    raise DataError("its pre_tokenizer is not supported")


def _names(vocab: Any) -> list[str]:
    """Return the tokens in the order of their ids. Raise DataError if these are not 0 … V-1."""
    if not isinstance(vocab, dict) or not vocab:
        raise DataError("it has no vocabulary")
    ids = list(vocab.values())
    if not all(type(index) is int for index in ids) or sorted(ids) != list(range(len(ids))):
        raise DataError(f"its ids are not 0 to {len(ids) - 1}, each once")
    return sorted(vocab, key=vocab.__getitem__)
