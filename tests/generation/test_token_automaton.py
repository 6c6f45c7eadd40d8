"""Automata over tokens, against Python's re."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.errors import UsageError
from charnn.generation.token_automaton import byte_sequences, compile_pattern

CHARACTERS = "abé€😀\n"
ALPHABET = ["\n", "ab", "é", "€", "😀"]
CHAR_TOKENS = [character.encode() for character in CHARACTERS]
BYTE_TOKENS = [bytes([byte]) for byte in range(256)]
WORD_TOKENS = [b"a", b"b", b"ab", b"ba\n", "é€".encode(), "😀".encode()[:2], "😀".encode()[2:]]

atoms = st.sampled_from(["a", "b", "é", "😀", ".", "[ab]", "[^a]", "[€-😀]", r"\w", r"\s", "(?:)"])
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("(?:{})(?:{})".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}"])),
    ),
    max_leaves=6,
)


def accepts(automaton, tokens, ids):
    """Whether the automaton takes a sequence of tokens and accepts it."""
    state = 0
    for token in ids:
        state = automaton.next_state[state, token]
        if state < 0:
            return False
    return bool(automaton.accepting[state])


def compile_or_none(pattern, tokens):
    try:
        return compile_pattern(pattern, tokens, np.ones(len(tokens), bool), ALPHABET)
    except UsageError:
        return None


@given(patterns, st.text(CHARACTERS, max_size=6))
def test_accepts_what_re_accepts(pattern, text) -> None:
    """Over characters and over bytes, the whole text matches or does not."""
    expected = re.fullmatch(pattern, text) is not None
    for tokens in (CHAR_TOKENS, BYTE_TOKENS):
        automaton = compile_or_none(pattern, tokens)
        data = text.encode() if tokens is BYTE_TOKENS else text
        pieces = [bytes([unit]) if isinstance(unit, int) else unit.encode() for unit in data]
        ids = [tokens.index(piece) for piece in pieces]

        assert (automaton is not None and accepts(automaton, tokens, ids)) == expected


@given(patterns, st.integers(0, 2**32), st.sampled_from([CHAR_TOKENS, BYTE_TOKENS, WORD_TOKENS]))
def test_every_way_leads_to_a_match(pattern, seed, tokens) -> None:
    """A walk along the table never gets stuck, and where it accepts re does."""
    automaton = compile_or_none(pattern, tokens)
    if automaton is None:
        return
    random = np.random.default_rng(seed)
    state, text = 0, b""
    for _ in range(40):
        ways = np.flatnonzero(automaton.next_state[state] >= 0)
        if automaton.accepting[state]:
            assert re.fullmatch(pattern, text.decode())
        elif len(ways) == 0:
            pytest.fail("a dead end")
        if len(ways) == 0:
            break
        token = random.choice(ways)
        text += tokens[token]
        state = automaton.next_state[state, token]


blocks = st.sampled_from([(0, 0xD7FF), (0xE000, 0x10FFFF)])  # surrogates have no encoding


@given(blocks.flatmap(lambda block: st.lists(st.integers(*block), min_size=3, max_size=3)))
def test_byte_sequences_are_utf8(codes) -> None:
    """A range of characters is the sequences of bytes that encode them, each once, no others."""
    low, high = sorted(codes[:2])
    sequences = list(byte_sequences(low, high))
    for code in (low, high, (low + high) // 2, codes[2]):
        encoded = chr(code).encode()
        met = sum(
            len(encoded) == len(sequence)
            and all(
                first <= byte <= last for byte, (first, last) in zip(encoded, sequence, strict=True)
            )
            for sequence in sequences
        )

        assert met == (low <= code <= high)
    sizes = [math.prod(last - first + 1 for first, last in sequence) for sequence in sequences]
    assert sum(sizes) == high - low + 1


def test_only_tokens_that_can_be_drawn_are_followed() -> None:
    """What may not be drawn is a dead end, and so is what only leads there."""
    drawable = np.array([True, True, False, True, True, True])
    automaton = compile_pattern("aé|ab|b*", CHAR_TOKENS, drawable, ALPHABET)

    assert accepts(automaton, CHAR_TOKENS, [0, 1])
    assert not accepts(automaton, CHAR_TOKENS, [0, 2])
    with pytest.raises(UsageError, match="no text that can be drawn"):
        compile_pattern("aé", CHAR_TOKENS, drawable, ALPHABET)


@pytest.mark.parametrize("pattern", ["x", "[^\\s\\S]", "a(?:[^\\w\\W])+", "\udcff"])
def test_a_language_without_texts_is_refused(pattern) -> None:
    """An expression that nothing matches, or that the vocabulary cannot spell."""
    with pytest.raises(UsageError, match="no text that can be drawn"):
        compile_pattern(pattern, CHAR_TOKENS, np.ones(len(CHAR_TOKENS), bool), ALPHABET)


@pytest.mark.parametrize(
    "pattern", ["a{60000}", "(?:){99999999}", "(?:a|b)*a(?:a|b){14}", "((a{99}){99}){99}"]
)
def test_too_large_an_automaton_is_refused(pattern) -> None:
    """Counts and choices that would multiply states without bound are a usage error, and soon."""
    with pytest.raises(UsageError, match="too large"):
        compile_pattern(pattern, CHAR_TOKENS, np.ones(len(CHAR_TOKENS), bool), ALPHABET)


def test_a_table_too_large_for_the_vocabulary_is_refused() -> None:
    """States times tokens is bounded too."""
    tokens = [str(number).encode() for number in range(20_000)]
    with pytest.raises(UsageError, match="too large"):
        compile_pattern("[0-9]{1000}", tokens, np.ones(len(tokens), bool), ["0123456789"])
