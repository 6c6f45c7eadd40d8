"""Constraints on generated tokens: banned and allowed characters, regular expressions."""

import numpy as np
import pytest

from charnn.errors import UsageError
from charnn.generation.constraints import constrain, never_generated

WORDS = [b"the", b" the", b" sea", b"\n", "é".encode(), b"\xef\xbf\xbd"]
UNK = 5
BYTES = [bytes([byte]) for byte in range(256)]


def allowed_ids(constraint):
    return np.flatnonzero(constraint.bias == 0).tolist()


def accepted_length(constraint, data):
    """Return the length of the longest prefix of `data` that can be generated."""
    state = 0
    for position, byte in enumerate(data):
        state = constraint.automaton.next_state[state, byte]
        if state < 0:
            return position
    return len(data)


def test_without_options_only_unk_is_excluded() -> None:
    """Every other token is allowed, and no automaton is built."""
    constraint = constrain(WORDS, UNK)

    assert allowed_ids(constraint) == [0, 1, 2, 3, 4]
    assert constraint.automaton is None


def test_ban_excludes_tokens_with_a_banned_character() -> None:
    """The character may be anywhere in the token."""
    assert allowed_ids(constrain(WORDS, UNK, ban="hé")) == [2, 3]


def test_allow_excludes_tokens_with_other_characters() -> None:
    """All characters of a token must be allowed and none banned."""
    assert allowed_ids(constrain(WORDS, UNK, allow="thea s")) == [0, 1, 2]
    assert allowed_ids(constrain(WORDS, UNK, allow="thea s", ban=" ")) == [0]


@pytest.mark.parametrize("pieces", [WORDS, BYTES], ids=["words", "bytes"])
def test_excluding_every_token_is_a_usage_error(pieces) -> None:
    """It is neither an endless loop nor does it generate banned tokens."""
    with pytest.raises(UsageError, match="exclude every token"):
        constrain(pieces, allow="")
    with pytest.raises(UsageError, match="exclude every token"):
        constrain(WORDS, UNK, allow="xyz")


def test_characters_that_are_in_no_token() -> None:
    """The piece of <unk> is not generated; byte tokens can form every character."""
    assert never_generated(WORDS, UNK, "the é€\ufffd€") == {"€", "\ufffd"}
    assert never_generated(WORDS, UNK, "") == set()
    assert never_generated(BYTES, None, "a€") == set()
    assert never_generated([*WORDS, b"\xc3"], UNK, "€") == set()


def test_ban_of_a_multibyte_character_with_byte_tokens() -> None:
    """The bytes of a banned character can still be part of other characters."""
    constraint = constrain(BYTES, ban="é")

    assert accepted_length(constraint, "aèê€😀\n".encode()) == len("aèê€😀\n".encode())
    assert accepted_length(constraint, "aé".encode()) == 2
    assert not constraint.automaton.complete.any()


def test_allow_of_multibyte_characters_with_byte_tokens() -> None:
    """Only complete allowed characters can be generated, any number of times."""
    constraint = constrain(BYTES, allow="é€")

    assert accepted_length(constraint, "é€€é".encode()) == 10
    assert accepted_length(constraint, "éè".encode()) == 3
    assert accepted_length(constraint, b"a") == 0


def test_ban_does_not_end_a_sample() -> None:
    """Without a regular expression, tokens that cannot follow are never sampled."""
    constraint = constrain(BYTES, ban="é")

    np.testing.assert_array_equal(constraint.automaton.barred, constraint.automaton.next_state < 0)


def test_other_tokens_end_the_sample_only_in_accepting_states() -> None:
    """Before the expression matches, tokens that cannot follow are barred."""
    tokens = [b"a", b"b"]
    automaton = constrain(tokens, match="ab*").automaton

    assert automaton.barred[0].tolist() == [False, True]
    after = automaton.next_state[0, 0]
    assert automaton.barred[after].tolist() == [False, False]
    assert automaton.next_state[after].tolist()[0] == -1
    assert not automaton.complete[after]
    assert constrain(tokens, match="a").automaton.complete.tolist().count(True) == 1


def test_ban_applies_inside_a_regular_expression() -> None:
    """Character classes do not contain banned characters, also with byte tokens."""
    constraint = constrain(BYTES, match="[é-ë]+", ban="ê")

    assert accepted_length(constraint, "éë".encode()) == 4
    assert accepted_length(constraint, "éê".encode()) == 3
    with pytest.raises(UsageError, match="no text that can be generated"):
        constrain(WORDS, UNK, match="é", ban="é")


def test_lone_surrogates_are_ignored() -> None:
    """They represent bytes of a command line that are not UTF-8."""
    assert accepted_length(constrain(BYTES, allow="a\udcff"), b"aa") == 2
