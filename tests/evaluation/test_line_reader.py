"""Lines from a stream: whatever the chunks, the same lines; long ones in pieces; nothing waits."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.evaluation import line_reader
from charnn.evaluation.line_reader import LONG_LINE, Part, cut_line

CHUNKS = st.lists(st.binary(max_size=12) | st.just(b"\n") | st.just(b"a\nb"), max_size=12)


def joined(parts):
    """Lines with their pieces put together, after checking how the pieces are marked."""
    lines = []
    for part in parts:
        assert part.begins == (not lines or lines[-1][1])
        if part.begins:
            lines.append([b"", False])
        lines[-1] = [lines[-1][0] + part.data, part.ends]
    assert all(ends for _, ends in lines)
    return [data for data, _ in lines]


@given(CHUNKS, st.booleans(), st.integers(1, 9))
def test_chunks_make_no_difference(chunks, has_more, longest) -> None:
    """Lines and their pieces depend on the bytes alone."""
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
def test_a_whole_is_one_line_of_everything(chunks, longest) -> None:
    """Line ends are text like any other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_reader, "LONG_LINE", longest)
        read = list(itertools.chain(*line_reader.whole_text(iter(chunks))))

    assert joined(read) == [b"".join(chunks)]
    assert all(len(part.data) <= longest for part in read)


def test_a_line_is_handed_on_before_the_next_is_waited_for() -> None:
    """With nothing more to be had at once, what is complete comes out."""
    arriving = iter([b"one\ntw", b"o\n", b"three"])
    batches = line_reader.lines(arriving, lambda: False)

    assert next(batches) == [Part(b"one")]
    assert next(batches) == [Part(b"two")]
    assert next(batches) == [Part(b"three")]


def test_what_is_there_comes_at_once_up_to_a_limit() -> None:
    """Many lines go together, but no more than bound the memory."""
    chunk = b"line\n" * 1000
    batches = list(line_reader.lines(itertools.repeat(chunk, 1000), lambda: True))

    assert sum(map(len, batches)) == 1_000_000
    assert max(map(len, batches)) <= (line_reader.ENOUGH + len(chunk)) / 5
    assert len(batches) == 5


def test_an_endless_line_is_never_held_as_a_whole() -> None:
    """Its pieces come as they are complete."""
    batches = line_reader.lines(itertools.repeat(b"x" * 1000), lambda: False)

    assert next(batches) == [Part(b"x" * LONG_LINE, ends=False)]
    assert next(batches) == [Part(b"x" * LONG_LINE, begins=False, ends=False)]
