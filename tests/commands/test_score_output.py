"""Output of `charnn score`: colors by surprisal, and long lines."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.commands import score_output
from charnn.commands.score_output import (
    LEVELS,
    LONGEST_TEXT,
    UNKNOWN,
    InputCounts,
    Token,
    painted,
    shortened,
    style_of,
)
from charnn.escape import visible
from charnn.evaluation.line_reader import cut_line
from charnn.evaluation.surprisal import Scored
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.incremental import IncrementalEncoder
from charnn.tokenizers.words import WordTokenizer

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


def counted(tokenizer, lines, whole=False) -> str:
    """Return the summary of lines; long ones are in parts, others are scored at once."""
    counts, encoder = InputCounts(tokenizer, whole=whole), IncrementalEncoder(tokenizer)
    for line in lines:
        for part in cut_line(line):
            encoded = encoder.encode(part.data, final=part.ends)
            nats = np.zeros(len(encoded.ids))
            counts.add(Scored(part, encoded.ids, nats, encoded.unknown_in_order))
    return counts.summary()


def test_invalid_utf8_and_unknown_symbols_are_counted() -> None:
    """Lines with invalid bytes, and symbols with their most frequent; both with the remedy."""
    tokenizer = CharTokenizer.build("The lamp")
    lines = ["The lamp", "€é€", "lamp é€"]

    assert counted(tokenizer, [line.encode() for line in lines]) == (
        "5 out-of-vocabulary symbols: '€' ×3, 'é' ×2\n"
        "a dataset prepared with --tokenizer byte has a token for every byte"
    )
    assert counted(tokenizer, [b"lamp", b"l\xffmp\xff", b"\xc3"]).splitlines()[:2] == [
        "2 of 3 lines with invalid UTF-8, read as U+FFFD",
        "3 out-of-vocabulary symbols: '\ufffd' ×3",
    ]
    assert counted(tokenizer, [b"lamp\xff"], whole=True).startswith("1 of 1 files with")


def test_nothing_is_counted_where_everything_is_known() -> None:
    """A byte model reads every byte; a character between two parts of a line is valid."""
    tokenizer = CharTokenizer.build("aé")
    long = ("a" + "é" * LONGEST_TEXT).encode()

    assert counted(ByteTokenizer.build(b""), [b"\xff\xc3", "é".encode()]) == ""
    assert counted(tokenizer, [long, b"a"]) == ""
    assert counted(tokenizer, [long + b"\xff"]).startswith("1 of 1 lines with invalid UTF-8")


def test_unknown_words_are_counted_with_bounded_memory(monkeypatch) -> None:
    """All are in the total, the first ones by name."""
    monkeypatch.setattr(score_output, "MOST_SYMBOLS", 1)
    tokenizer = WordTokenizer.build("the lamp")

    assert counted(tokenizer, [b"the sea the sea", b"the light the sea"]).splitlines()[0] == (
        "6 out-of-vocabulary symbols: ' sea' ×3"
    )
