"""Splits: fractions of a text, and shuffled records."""

from hypothesis import given
from hypothesis import strategies as st

from charnn.data.splits import (
    count_records,
    count_shared_records,
    distinct_records,
    split_records,
    split_text,
)


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


@given(st.lists(st.sampled_from("abcd"), min_size=1), st.lists(st.sampled_from("abc"), min_size=1))
def test_shared_records_are_counted_in_validation(train, val) -> None:
    """Every validation record that also occurs in training, as often as it occurs."""
    texts = ["".join(f"{line}\n" for line in lines) for lines in (train, val)]

    assert count_shared_records(*texts) == sum(line in train for line in val)
    assert count_shared_records(*map(str.encode, texts)) == count_shared_records(*texts)
    assert count_records(texts[0]) == count_records(texts[0].encode()) == len(train)


def test_distinct_records_keep_the_first_of_each_line() -> None:
    """In the order of the text; a line of a given validation text is removed from training."""
    texts = {"train": "b\na\nb\nc", "val": "c\nd\nd\n"}

    assert distinct_records(texts) == ({"train": "b\na\n", "val": "c\nd\n"}, 3)
    assert distinct_records({"train": b"a\n\na\n\n"}) == ({"train": b"a\n\n"}, 2)
    assert distinct_records({"train": "a", "val": "a"}) == ({"train": "", "val": "a\n"}, 1)
    assert split_records("", 0.1, 0, 1) == {}
