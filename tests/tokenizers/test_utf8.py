"""Counts of characters and bytes, also of a text that is counted in chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.tokenizers import utf8


@given(text=st.text(max_size=20), chunk=st.integers(1, 5))
def test_counts_are_those_of_the_whole_text(text, chunk) -> None:
    """Of characters in bytes, and of bytes in characters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utf8, "CHUNK", chunk)

        assert utf8.count_chars(text.encode()) == len(text)
        assert utf8.count_bytes(text) == len(text.encode())
