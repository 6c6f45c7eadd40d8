"""Bounds of records in the token ids of a split."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charnn.data import records
from charnn.data.records import record_bounds


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 7))
def test_records_are_the_lines_of_the_text(ids, part) -> None:
    """They agree with `bytes.splitlines`, also if the split is read in small parts."""
    tokens = np.array([b"abc\n"[index] for index in ids], np.uint8)
    size, records.PART = records.PART, part
    try:
        bounds = record_bounds(tokens, ord("\n")).tolist()
    finally:
        records.PART = size

    found = [tokens[a:b].tobytes() for a, b in itertools.pairwise(bounds)]
    assert found == tokens.tobytes().splitlines(keepends=True)


def test_bounds_take_four_bytes_per_record() -> None:
    """Splits of more than four billion tokens need eight."""
    assert record_bounds(np.zeros(5, np.uint8), 0).itemsize == 4
