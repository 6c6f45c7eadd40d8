"""Output of `charnn score`: colors by surprisal, and long lines."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.commands.score_output import (
    LEVELS,
    LONGEST_TEXT,
    UNKNOWN,
    Token,
    painted,
    shortened,
    style_of,
)
from charnn.escape import visible

CODES = re.compile(r"\x1b\[[0-9;]*m")


@settings(deadline=None)
@given(st.text(max_size=30), st.data())
def test_painted_without_codes_is_the_text(text, data) -> None:
    """For any division of characters into tokens; control characters are escaped."""
    encoded = text.encode("utf-8", "replace")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(encoded)))) | {0, len(encoded)})
    bits = st.floats(0, 20) | st.just(float("nan"))
    pairs = zip(cuts, cuts[1:] or [0], strict=False)
    tokens = [Token(encoded[a:b], data.draw(bits), data.draw(st.booleans())) for a, b in pairs]

    plain = CODES.sub("", painted(tokens))
    assert plain == visible(encoded.decode(), one_line=True)
    assert "\x1b" not in plain


def test_level_thresholds_are_inclusive() -> None:
    """A number has the highest level whose minimum it reaches."""
    for bits, style in LEVELS:
        assert style_of(bits) == style
    assert style_of(0.99) == ""
    assert style_of(1e9) == LEVELS[-1][1]


def test_out_of_vocabulary_tokens_are_reversed() -> None:
    """Reverse video, then a reset; also if their surprisal is not known."""
    for bits in (20.0, float("nan")):
        tokens = [Token(b"a", 0.5, unknown=False), Token(b"?", bits, unknown=True)]
        assert painted(tokens) == f"a{UNKNOWN}?\x1b[0m"


def test_long_line_is_cut_between_characters() -> None:
    """At most three bytes before the limit; at the limit if it is not UTF-8."""
    for before in range(4):
        text = b"a" * (LONGEST_TEXT - before) + "😀😀".encode()
        cut = LONGEST_TEXT - before
        assert shortened(text) == text[: cut if before else LONGEST_TEXT]
    assert shortened(b"\x80" * (LONGEST_TEXT + 9)) == b"\x80" * LONGEST_TEXT
    assert shortened(b"a" * LONGEST_TEXT) == b"a" * LONGEST_TEXT
