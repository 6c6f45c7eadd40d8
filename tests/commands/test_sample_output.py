"""Output of samples: text, JSON, and the filter of copied samples."""

import json

import pytest

from charnn.commands.sample_output import (
    Selection,
    Style,
    Unrepeated,
    complete_samples,
    write_json,
    write_text,
)
from charnn.errors import StorageError
from charnn.generation.generate import Piece, Sample


def events(*texts):
    """Return the events of samples in two pieces each, with different reasons to finish."""
    for index, text in enumerate(texts):
        half = len(text) // 2
        parts = (text[:half].encode(), text[half:].encode())
        yield from (Piece(index, part) for part in parts if part)
        yield Sample(index, len(text), 0.0, "length", None)


def test_complete_samples_joins_pieces() -> None:
    """An empty sample is yielded too."""
    assert [(data, end.index) for data, end in complete_samples(events("abc", "", "d"))] == [
        (b"abc", 0),
        (b"", 1),
        (b"d", 2),
    ]


def test_selection_drops_and_counts() -> None:
    """Samples that fail a test are counted under its name; the others keep their index."""
    selection = Selection({"long": lambda text: len(text) < 4, "repeated": Unrepeated()}, 10)
    texts = ("ab", "abc", "", "ab", "abcd", "x")
    kept = list(complete_samples(selection.among(events(*texts), prompt="-")))

    assert [(data, end.index) for data, end in kept] == [(b"ab", 0), (b"", 2), (b"x", 5)]
    assert selection.dropped == {"long": 2, "repeated": 1}
    assert selection.summary() == (
        "kept 3 of 10 samples after 6 attempts; dropped: 2 long, 1 repeated"
    )


def test_selection_ends_with_the_wanted_number() -> None:
    """No more samples are generated."""
    selection = Selection({"long": lambda text: len(text) < 2}, 2)
    source = events("a", "bb", "c", "d")

    assert [data for data, _ in complete_samples(selection.among(source, ""))] == [b"a", b"c"]
    assert [data for data, _ in complete_samples(source)] == [b"d"]
    assert selection.summary() == "kept 2 of 2 samples after 3 attempts; dropped: 1 long"


def test_text_is_written_before_an_error(capfd) -> None:
    """For example if the state cannot be saved."""

    def failing():
        yield Piece(0, b"The lamp")
        raise StorageError("no room")

    with pytest.raises(StorageError, match="no room"):
        write_text(failing(), Style())

    assert capfd.readouterr().out == "The lamp\n"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, "é\ufffd\x1b\ufffd\n".encode()),
        (False, b"\xc3\xa9\xef\xbf\xbd\\x1b\xef\xbf\xbd\n"),
        (True, b"\xc3\xa9\xff\x1b\xc3"),
    ],
)
def test_invalid_utf8_is_replaced_unless_raw(raw, expected, capfdbinary) -> None:
    """U+FFFD in a pipe; --safe also escapes control characters; --raw keeps all bytes."""
    pieces = (Piece(0, data) for data in ("é".encode(), b"\xff", b"\x1b", b"\xc3"))
    write_text(pieces, Style(raw=raw))

    assert capfdbinary.readouterr().out == expected


def test_json_replaces_invalid_utf8(capfd) -> None:
    """A sample is decoded as a whole, not by piece."""
    sample = [Piece(0, b"a\xff"), Piece(0, "é".encode()), Sample(0, 3, 1.0, "length", None)]
    write_json(sample, "prompt ", 1, one_object=False)

    assert json.loads(capfd.readouterr().out)["text"] == "prompt a\ufffdé"


@pytest.mark.parametrize(("texts", "samples"), [(["a"], 1), ([], 1), (["a"], 2), (["a", "b"], 2)])
def test_json_is_one_object(texts, samples, capfd) -> None:
    """The sample itself if one was wanted; otherwise a list, also of fewer than were wanted."""
    write_json(events(*texts), "", 5, one_object=True, samples=samples)
    written = json.loads(capfd.readouterr().out)
    found = [written] if "text" in written else written["samples"]

    assert [sample["text"] for sample in found] == texts
    assert ("text" in written) == (samples == len(texts) == 1)
    assert written["seed"] == 5
