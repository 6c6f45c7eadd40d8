"""Incremental encoding: the same ids as for the whole text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.tokenizers.incremental import IncrementalEncoder
from charnn.tokenizers.registry import TOKENIZERS

TEXT = "one two, 河镇，渡口 é three\n" * 3


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
@given(data=st.binary(max_size=40) | st.just(TEXT.encode()), size=st.integers(20, 40))
def test_parts_have_the_ids_of_the_whole_text(kind, data, size) -> None:
    """Also if a character is cut in two or bytes are invalid."""
    tokenizer = TOKENIZERS[kind].build(TEXT)
    encoder = IncrementalEncoder(tokenizer)
    for _ in range(2):  # a final part resets the encoder
        parts = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
        last = len(parts) - 1
        encoded = [encoder.encode(part, final=i == last) for i, part in enumerate(parts)]

        if kind in ("char", "byte") or data == TEXT.encode():
            whole = tokenizer.encode(data)
            assert [index for part in encoded for index in part.ids.tolist()] == whole.ids.tolist()
            unknown = [symbol for part in encoded for symbol in part.unknown_in_order]
            assert unknown == whole.unknown_in_order


def test_incomplete_word_is_delayed() -> None:
    """So is an incomplete UTF-8 character."""
    words, characters = (TOKENIZERS[kind].build(TEXT) for kind in ("word", "char"))

    assert IncrementalEncoder(words).encode(b"one tw", final=False).ids == words.encode("one").ids
    encoded = IncrementalEncoder(characters).encode("tw\u00e9".encode()[:-1], final=False)
    assert encoded.ids.tolist() == characters.encode("tw").ids.tolist()
