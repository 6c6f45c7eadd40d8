"""Bans, allowances and expressions as what may be drawn."""

import numpy as np
import pytest

from charnn.errors import UsageError
from charnn.generation.constraints import constrain

WORDS = [b"the", b" the", b" sea", b"\n", "é".encode(), b"\xef\xbf\xbd"]
UNK = 5
BYTES = [bytes([byte]) for byte in range(256)]


def drawable(constraint):
    return np.flatnonzero(constraint.bias == 0).tolist()


def taken(constraint, data):
    """How many bytes of `data` may be drawn one after the other."""
    state = 0
    for place, byte in enumerate(data):
        state = constraint.automaton.next_state[state, byte]
        if state < 0:
            return place
    return len(data)


def test_nothing_is_asked_nothing_is_barred_but_the_unknown() -> None:
    """Without options every token but <unk> may come, and no table is built."""
    constraint = constrain(WORDS, UNK)

    assert drawable(constraint) == [0, 1, 2, 3, 4]
    assert constraint.automaton is None


def test_a_ban_takes_tokens_with_such_a_character() -> None:
    """Anywhere in the token."""
    assert drawable(constrain(WORDS, UNK, ban="hé")) == [2, 3]


def test_an_allowance_leaves_tokens_of_such_characters() -> None:
    """All characters of a token must be allowed, and a ban still counts."""
    assert drawable(constrain(WORDS, UNK, allow="thea s")) == [0, 1, 2]
    assert drawable(constrain(WORDS, UNK, allow="thea s", ban=" ")) == [0]


@pytest.mark.parametrize("pieces", [WORDS, BYTES], ids=["words", "bytes"])
def test_nothing_left_is_refused(pieces) -> None:
    """Rather than an endless loop or a token that was banned."""
    with pytest.raises(UsageError, match="leave no token"):
        constrain(pieces, allow="")
    with pytest.raises(UsageError, match="leave no token"):
        constrain(WORDS, UNK, allow="xyz")


def test_bytes_are_banned_as_characters() -> None:
    """A character of several bytes is banned as a whole; its bytes serve other characters."""
    constraint = constrain(BYTES, ban="é")

    assert taken(constraint, "aèê€😀\n".encode()) == len("aèê€😀\n".encode())
    assert taken(constraint, "aé".encode()) == 2
    assert not constraint.automaton.complete.any()


def test_bytes_are_allowed_as_characters() -> None:
    """Only whole characters of those allowed, again and again."""
    constraint = constrain(BYTES, allow="é€")

    assert taken(constraint, "é€€é".encode()) == 10
    assert taken(constraint, "éè".encode()) == 3
    assert taken(constraint, b"a") == 0


def test_a_ban_never_ends_a_sample() -> None:
    """Only an expression does: elsewhere the barred tokens are drawn in no state."""
    constraint = constrain(BYTES, ban="é")

    np.testing.assert_array_equal(constraint.automaton.barred, constraint.automaton.next_state < 0)


def test_where_an_expression_matches_other_tokens_may_be_drawn_to_end_it() -> None:
    """And where it does not match yet they may not."""
    tokens = [b"a", b"b"]
    automaton = constrain(tokens, match="ab*").automaton

    assert automaton.barred[0].tolist() == [False, True]
    after = automaton.next_state[0, 0]
    assert automaton.barred[after].tolist() == [False, False]
    assert automaton.next_state[after].tolist()[0] == -1
    assert not automaton.complete[after]
    assert constrain(tokens, match="a").automaton.complete.tolist().count(True) == 1


def test_a_ban_holds_inside_an_expression() -> None:
    """Classes are understood without what is banned, on bytes too."""
    constraint = constrain(BYTES, match="[é-ë]+", ban="ê")

    assert taken(constraint, "éë".encode()) == 4
    assert taken(constraint, "éê".encode()) == 3
    with pytest.raises(UsageError, match="no text that can be drawn"):
        constrain(WORDS, UNK, match="é", ban="é")


def test_lone_surrogates_are_no_characters() -> None:
    """Undecodable bytes of a command line do no harm."""
    assert taken(constrain(BYTES, allow="a\udcff"), b"aa") == 2
