"""Automata over tokens, compared with Python's `re`."""

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
    """Return whether the automaton accepts a sequence of tokens."""
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
def test_automaton_accepts_what_re_matches(pattern, text) -> None:
    """For character and byte tokens, it accepts a text if `re.fullmatch` does."""
    expected = re.fullmatch(pattern, text) is not None
    for tokens in (CHAR_TOKENS, BYTE_TOKENS):
        automaton = compile_or_none(pattern, tokens)
        data = text.encode() if tokens is BYTE_TOKENS else text
        pieces = [bytes([unit]) if isinstance(unit, int) else unit.encode() for unit in data]
        ids = [tokens.index(piece) for piece in pieces]

        assert (automaton is not None and accepts(automaton, tokens, ids)) == expected


@given(patterns, st.integers(0, 2**32), st.sampled_from([CHAR_TOKENS, BYTE_TOKENS, WORD_TOKENS]))
def test_every_path_leads_to_a_match(pattern, seed, tokens) -> None:
    """A random walk reaches no dead end, and `re` matches in accepting states."""
    automaton = compile_or_none(pattern, tokens)
    if automaton is None:
        return
    random = np.random.default_rng(seed)
    state, text = 0, b""
    for _ in range(40):
        tokens_that_follow = np.flatnonzero(automaton.next_state[state] >= 0)
        if automaton.accepting[state]:
            assert re.fullmatch(pattern, text.decode())
        elif len(tokens_that_follow) == 0:
            pytest.fail("a dead end")
        if len(tokens_that_follow) == 0:
            break
        token = random.choice(tokens_that_follow)
        text += tokens[token]
        state = automaton.next_state[state, token]


blocks = st.sampled_from([(0, 0xD7FF), (0xE000, 0x10FFFF)])  # surrogates have no encoding


@given(blocks.flatmap(lambda block: st.lists(st.integers(*block), min_size=3, max_size=3)))
def test_byte_sequences_are_the_utf8_encodings(codes) -> None:
    """They match the encoding of every character in the range exactly once, and no others."""
    low, high = sorted(codes[:2])
    sequences = list(byte_sequences(low, high))
    for code in (low, high, (low + high) // 2, codes[2]):
        encoded = chr(code).encode()
        matches = sum(
            len(encoded) == len(sequence)
            and all(
                first <= byte <= last for byte, (first, last) in zip(encoded, sequence, strict=True)
            )
            for sequence in sequences
        )

        assert matches == (low <= code <= high)
    sizes = [math.prod(last - first + 1 for first, last in sequence) for sequence in sequences]
    assert sum(sizes) == high - low + 1


def test_excluded_tokens_are_not_followed() -> None:
    """States that are only reached or left by excluded tokens are dead."""
    allowed = np.array([True, True, False, True, True, True])
    automaton = compile_pattern("aé|ab|b*", CHAR_TOKENS, allowed, ALPHABET)

    assert accepts(automaton, CHAR_TOKENS, [0, 1])
    assert not accepts(automaton, CHAR_TOKENS, [0, 2])
    with pytest.raises(UsageError, match="no text that can be generated"):
        compile_pattern("aé", CHAR_TOKENS, allowed, ALPHABET)


@pytest.mark.parametrize("pattern", ["x", "[^\\s\\S]", "a(?:[^\\w\\W])+", "\udcff"])
def test_pattern_without_a_matching_text_is_a_usage_error(pattern) -> None:
    """Nothing matches it, or its characters are not in the vocabulary."""
    with pytest.raises(UsageError, match="no text that can be generated"):
        compile_pattern(pattern, CHAR_TOKENS, np.ones(len(CHAR_TOKENS), bool), ALPHABET)


def test_absent_characters_of_the_pattern_are_named() -> None:
    """Characters of the vocabulary and classes are not."""
    with pytest.raises(UsageError) as caught:
        compile_pattern(r"aX[Z]\%.*a", CHAR_TOKENS, np.ones(len(CHAR_TOKENS), bool), ALPHABET)
    assert caught.value.hint.endswith(r", unlike 'X', '%'")


@pytest.mark.parametrize(
    "pattern", ["a{60000}", "(?:){99999999}", "(?:a|b)*a(?:a|b){14}", "((a{99}){99}){99}"]
)
def test_too_large_automaton_is_a_usage_error(pattern) -> None:
    """Nested counts and alternatives with too many states are rejected quickly."""
    with pytest.raises(UsageError, match="too large"):
        compile_pattern(pattern, CHAR_TOKENS, np.ones(len(CHAR_TOKENS), bool), ALPHABET)


def test_too_large_token_table_is_a_usage_error() -> None:
    """The product of states and tokens is limited."""
    tokens = [str(number).encode() for number in range(20_000)]
    with pytest.raises(UsageError, match="too large"):
        compile_pattern("[0-9]{1000}", tokens, np.ones(len(tokens), bool), ["0123456789"])
