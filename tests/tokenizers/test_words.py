"""Splitting of text into words, without loss."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.errors import UsageError
from charnn.tokenizers.words import WORD_PATTERN, compile_word_pattern, split_words

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_words_include_the_space_before_them() -> None:
    """ "what time is it?" has five tokens, and a newline is a token."""
    units = list(split_words("what time is it?\nIt's late...", re.compile(WORD_PATTERN)))

    assert units == ["what", " time", " is", " it", "?", "\n", "It's", " late", ".", ".", "."]


def test_penn_treebank_pattern() -> None:
    """Every word, <unk> and every newline is one token."""
    text = " no it was n't black <unk> \n but N says so \n"
    units = list(split_words(text, re.compile(r" ?\n| ?\S+|\s")))

    assert len(units) == 6 + 1 + 4 + 1
    assert "".join(units) == text


@given(TEXTS, st.sampled_from([r"\w+", "x", r"[aeiou]*", r" ?\n| ?\S+|\s", "$", r"\b"]))
def test_split_words_is_lossless_for_any_pattern(text, pattern) -> None:
    """Text that the pattern does not match is a word too."""
    assert "".join(split_words(text, re.compile(pattern))) == text


def test_invalid_pattern_is_a_usage_error() -> None:
    """The message has the pattern and the position of the error."""
    with pytest.raises(UsageError, match=re.escape("'a(x': missing ), unterminated subpattern")):
        compile_word_pattern("a(x")
