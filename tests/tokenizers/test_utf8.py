"""Numbers of characters and bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.tokenizers import utf8


@given(text=st.text(max_size=20), chunk=st.integers(1, 5))
def test_counting_in_chunks_is_exact(text, chunk) -> None:
    """Characters in bytes, and bytes in characters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utf8, "CHUNK", chunk)

        assert utf8.count_chars(text.encode()) == len(text)
        assert utf8.count_bytes(text) == len(text.encode())
