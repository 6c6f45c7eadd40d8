"""The embedded text of the experiments."""

import pytest

from charnn.lab import small_models


def test_the_embedded_book_is_split_without_a_gap() -> None:
    """Nine tenths are for training; every token has a length, the start token is a newline."""
    book = small_models.embedded_book()
    assert len(book.val) == pytest.approx(len(book.train) / 9, rel=0.01)
    assert book.train.max() < book.vocab_size == len(book.lengths.chars)
    assert book.lengths.bytes[book.start_token] == 1
