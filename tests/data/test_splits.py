"""Splits: fractions of a text, and shuffled records."""

from hypothesis import given
from hypothesis import strategies as st

from charnn.data.splits import split_records, split_text


def test_split_sizes_match_nanogpt() -> None:
    """int(n · 0.9) characters of Tiny Shakespeare: 1,003,854 and 111,540."""
    splits = split_text("x" * 1_115_394, 0.1, 0)

    assert [len(splits["train"]), len(splits["val"])] == [1_003_854, 111_540]


@given(st.text(min_size=1), st.floats(0, 0.45), st.floats(0, 0.45))
def test_splits_are_contiguous(text, val_frac, test_frac) -> None:
    """The joined splits are the text, and no split is empty."""
    splits = split_text(text, val_frac, test_frac)

    assert "".join(splits[name] for name in ("train", "val", "test") if name in splits) == text
    assert all(splits.values())


@given(st.lists(st.text(st.characters(exclude_characters="\n")), min_size=1), st.integers(0, 9))
def test_records_are_shuffled_by_line(records, seed) -> None:
    """Every record is in exactly one split, with its newline; the seed determines the order."""
    text = "\n".join(records) + "\n"
    splits = split_records(text, 0.3, 0.2, seed)
    found = "".join(splits.values())

    assert sorted(found.removesuffix("\n").split("\n")) == sorted(records)
    assert all(part.endswith("\n") for part in splits.values())
    assert splits == split_records(text, 0.3, 0.2, seed)
