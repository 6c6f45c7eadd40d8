"""Where a text is cut into words, and that nothing is lost between them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.errors import UsageError
from charnn.tokenizers.words import WORD_PATTERN, compile_word_pattern, split_words

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_words_keep_the_space_before_them() -> None:
    """ "what time is it?" is five units, and a newline is one of its own."""
    units = list(split_words("what time is it?\nIt's late...", re.compile(WORD_PATTERN)))

    assert units == ["what", " time", " is", " it", "?", "\n", "It's", " late", ".", ".", "."]


def test_the_pattern_of_penn_treebank_counts_newlines_as_tokens() -> None:
    """Under the usual pattern every word and every line end is one token, <unk> is a word."""
    text = " no it was n't black <unk> \n but N says so \n"
    units = list(split_words(text, re.compile(r" ?\n| ?\S+|\s")))

    assert len(units) == 6 + 1 + 4 + 1
    assert "".join(units) == text


@given(TEXTS, st.sampled_from([r"\w+", "x", r"[aeiou]*", r" ?\n| ?\S+|\s", "$", r"\b"]))
def test_no_character_is_lost_whatever_the_pattern(text, pattern) -> None:
    """What a pattern does not match is a unit of its own."""
    assert "".join(split_words(text, re.compile(pattern))) == text


def test_a_pattern_that_is_none_is_refused_with_the_place() -> None:
    """UsageError with the pattern and the character at which it goes wrong."""
    with pytest.raises(UsageError, match=re.escape("'a(x': missing ), unterminated subpattern")):
        compile_word_pattern("a(x")
