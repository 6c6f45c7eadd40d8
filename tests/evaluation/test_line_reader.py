"""Lines of a stream: independent of chunks, long lines in pieces, no unnecessary waiting."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.evaluation import line_reader
from charnn.evaluation.line_reader import LONG_LINE, Part, cut_line

CHUNKS = st.lists(st.binary(max_size=12) | st.just(b"\n") | st.just(b"a\nb"), max_size=12)


def joined(parts):
    """Join the pieces of each line, and check their `begins` and `ends`."""
    lines = []
    for part in parts:
        assert part.begins == (not lines or lines[-1][1])
        if part.begins:
            lines.append([b"", False])
        lines[-1] = [lines[-1][0] + part.data, part.ends]
    assert all(ends for _, ends in lines)
    return [data for data, _ in lines]


@given(CHUNKS, st.booleans(), st.integers(1, 9))
def test_lines_do_not_depend_on_chunks(chunks, has_more, longest) -> None:
    """Lines and their pieces depend only on the bytes of the stream."""
    text = b"".join(chunks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_reader, "LONG_LINE", longest)
        read = list(itertools.chain(*line_reader.lines(iter(chunks), lambda: has_more)))
        expected = text.split(b"\n")
        if not expected[-1]:
            del expected[-1]

        assert joined(read) == expected
        assert read == [part for line in expected for part in cut_line(line)]
        assert all(len(part.data) <= longest for part in read)


@given(CHUNKS, st.integers(1, 9))
def test_whole_text_is_one_line(chunks, longest) -> None:
    """Newlines are part of the text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_reader, "LONG_LINE", longest)
        read = list(itertools.chain(*line_reader.whole_text(iter(chunks))))

    assert joined(read) == [b"".join(chunks)]
    assert all(len(part.data) <= longest for part in read)


def test_complete_lines_are_yielded_before_waiting() -> None:
    """If reading more would block, the complete lines are yielded first."""
    arriving = iter([b"one\ntw", b"o\n", b"three"])
    batches = line_reader.lines(arriving, lambda: False)

    assert next(batches) == [Part(b"one")]
    assert next(batches) == [Part(b"two")]
    assert next(batches) == [Part(b"three")]


def test_available_lines_are_yielded_in_batches_of_limited_size(monkeypatch) -> None:
    """The size of a batch bounds the memory."""
    monkeypatch.setattr(line_reader, "ENOUGH", 10_000)
    chunk = b"line\n" * 100
    batches = list(line_reader.lines(itertools.repeat(chunk, 100), lambda: True))

    assert sum(map(len, batches)) == 10_000
    assert max(map(len, batches)) <= (10_000 + len(chunk)) / 5
    assert len(batches) == 5


def test_endless_line_is_yielded_in_pieces() -> None:
    """A piece is yielded as soon as it is complete."""
    batches = line_reader.lines(itertools.repeat(b"x" * 1000), lambda: False)

    assert next(batches) == [Part(b"x" * LONG_LINE, ends=False)]
    assert next(batches) == [Part(b"x" * LONG_LINE, begins=False, ends=False)]
