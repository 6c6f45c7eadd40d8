"""Stop strings: whole, partial, overlapping, over every cut of the text into pieces."""

from hypothesis import given
from hypothesis import strategies as st

from charnn.generation.stop_strings import StopMatcher


def reference(text, stops):
    """What gets out, and whether a stop string was met: the first that is complete, the longest."""
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
def test_every_cut_gives_the_same(text, stops) -> None:
    """However the text is cut in two or into single bytes, the same gets out."""
    expected = reference(text, stops)
    cuts = [[text[:cut], text[cut:]] for cut in range(len(text) + 1)]
    cuts.append([text[at : at + 1] for at in range(len(text))])
    for pieces in cuts:
        assert run(pieces, stops) == expected


@given(st.lists(texts, max_size=6), few_stops)
def test_any_pieces_give_the_same(pieces, stops) -> None:
    """Pieces of any length, empty ones too."""
    assert run(pieces, stops) == reference(b"".join(pieces), stops)


@given(texts, few_stops)
def test_nothing_is_held_longer_than_needed(text, stops) -> None:
    """What is held back is always the beginning of a stop string."""
    matcher = StopMatcher(stops)
    for at in range(len(text)):
        matcher.feed(text[at : at + 1])

        assert not matcher.held or any(
            stop.startswith(matcher.held) and stop != matcher.held for stop in stops
        )


def test_failed_partial_match_loses_nothing() -> None:
    """The classic: a match that fails late and contains the start of another."""
    matcher = StopMatcher([b"aab"])

    assert [matcher.feed(piece) for piece in (b"a", b"a", b"a", b"c")] == [b"", b"", b"a", b"aac"]
    assert matcher.feed(b"xaaby") == b"x"
    assert matcher.matched


def test_nothing_gets_out_after_a_match() -> None:
    """Neither the rest of the piece nor a later one."""
    matcher = StopMatcher([b"\n"])

    assert matcher.feed(b"one\ntwo") == b"one"
    assert matcher.feed(b"three") == b""
    assert matcher.flush() == b""


def test_without_stop_strings_all_gets_out_at_once() -> None:
    """The matcher is no cost to those who do not use it."""
    matcher = StopMatcher([])

    assert matcher.feed(b"abc") == b"abc"
    assert matcher.flush() == b""
