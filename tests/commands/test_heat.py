"""Surprise as colour: text unchanged, brightness grows with the bits, nothing dangerous passes."""

import re

from hypothesis import given
from hypothesis import strategies as st

from charnn.commands.heat import LEVELS, UNKNOWN, painted, style_of
from charnn.escape import visible

CODES = re.compile(r"\x1b\[[0-9;]*m")


@given(st.text(max_size=30), st.data())
def test_without_its_colours_it_is_the_text(text, data) -> None:
    """However characters are spread over tokens; control characters are made visible."""
    encoded = text.encode("utf-8", "replace")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(encoded)))) | {0, len(encoded)})
    bits = st.floats(0, 20) | st.just(float("nan"))
    tokens = [(encoded[a:b], data.draw(bits)) for a, b in zip(cuts, cuts[1:] or [0], strict=False)]

    plain = CODES.sub("", painted(tokens))
    assert plain == visible(encoded.decode(), one_line=True)
    assert "\x1b" not in plain


def test_levels_change_where_they_say() -> None:
    """A number belongs to the highest level that it reaches."""
    for bits, style in LEVELS:
        assert style_of(bits) == style
    assert style_of(0.99) == ""
    assert style_of(1e9) == LEVELS[-1][1]


def test_unknown_tokens_stand_out_and_colours_end() -> None:
    """Reverse video, and a reset behind it."""
    assert painted([(b"a", 0.5), (b"?", float("nan"))]) == f"a{UNKNOWN}?\x1b[0m"
