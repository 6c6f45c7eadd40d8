"""Stop strings: complete, partial, overlapping, and divided between pieces."""

from hypothesis import given
from hypothesis import strategies as st

from charnn.generation.stop_strings import StopMatcher


def reference(text, stops):
    """Return the output and whether a stop string occurred: the first to end, the longest."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if found:
            return text[: end - len(max(found, key=len))], True
    return text, False


def run(pieces, stops):
    matcher = StopMatcher(stops)
    out = b"".join(matcher.feed(piece) for piece in pieces)
    return out + matcher.flush(), matcher.matched


texts = st.text("ab\n", max_size=12).map(str.encode)
few_stops = st.lists(st.text("ab\n", min_size=1, max_size=4).map(str.encode), max_size=3)


@given(texts, few_stops)
def test_output_does_not_depend_on_where_the_text_is_divided(text, stops) -> None:
    """Dividing the text in two at any byte, or into single bytes, gives the same output."""
    expected = reference(text, stops)
    cuts = [[text[:cut], text[cut:]] for cut in range(len(text) + 1)]
    cuts.append([text[at : at + 1] for at in range(len(text))])
    for pieces in cuts:
        assert run(pieces, stops) == expected


@given(st.lists(texts, max_size=6), few_stops)
def test_output_does_not_depend_on_the_pieces(pieces, stops) -> None:
    """Pieces may have any length, including zero."""
    assert run(pieces, stops) == reference(b"".join(pieces), stops)


@given(texts, few_stops)
def test_withheld_bytes_begin_a_stop_string(text, stops) -> None:
    """Bytes are withheld only while they are a proper prefix of a stop string."""
    matcher = StopMatcher(stops)
    for at in range(len(text)):
        matcher.feed(text[at : at + 1])

        assert not matcher.held or any(
            stop.startswith(matcher.held) and stop != matcher.held for stop in stops
        )


def test_failed_partial_match_is_output() -> None:
    """A partial match that fails may contain the start of another match."""
    matcher = StopMatcher([b"aab"])

    assert [matcher.feed(piece) for piece in (b"a", b"a", b"a", b"c")] == [b"", b"", b"a", b"aac"]
    assert matcher.feed(b"xaaby") == b"x"
    assert matcher.matched


def test_nothing_is_output_after_a_match() -> None:
    """The rest of the piece and all later pieces are dropped."""
    matcher = StopMatcher([b"\n"])

    assert matcher.feed(b"one\ntwo") == b"one"
    assert matcher.feed(b"three") == b""
    assert matcher.flush() == b""


def test_without_stop_strings_nothing_is_withheld() -> None:
    """Every piece is output unchanged."""
    matcher = StopMatcher([])

    assert matcher.feed(b"abc") == b"abc"
    assert matcher.flush() == b""
