"""Samples on their way out: whole texts, and those that only copy left out."""

import pytest

from charnn.commands.sample_output import Novel, Style, whole, write_text
from charnn.errors import StorageError
from charnn.generation.generate import Piece, Sample


def events(*texts):
    """Samples in two pieces each, with a way of their own to end."""
    for index, text in enumerate(texts):
        half = len(text) // 2
        yield from (Piece(index, part) for part in (text[:half], text[half:]) if part)
        yield Sample(index, len(text), 0.0, "length", None)


def test_whole_puts_pieces_together() -> None:
    """An empty sample is a sample."""
    assert [(text, end.index) for text, end in whole(events("abc", "", "d"))] == [
        ("abc", 0),
        ("", 1),
        ("d", 2),
    ]


def test_what_copies_too_much_is_dropped_and_counted() -> None:
    """Exactly as many characters as the limit are too many; the others keep their index."""
    novel = Novel(len, 3)
    passed = list(whole(novel.among(events("ab", "abc", "", "abcd", "x"))))

    assert [(text, end.index) for text, end in passed] == [("ab", 0), ("", 2), ("x", 4)]
    assert novel.dropped == 2


def test_what_was_drawn_is_put_out_where_the_end_fails(capfd) -> None:
    """As when the state of the text cannot be saved."""

    def failing():
        yield Piece(0, "The lamp")
        raise StorageError("no room")

    with pytest.raises(StorageError, match="no room"):
        write_text(failing(), Style())

    assert capfd.readouterr().out == "The lamp\n"
