"""JSON that every parser accepts, and strict parsing."""

import json

import pytest

from charnn.errors import DataError
from charnn.storage import jsonio


def test_non_finite_numbers_become_null() -> None:
    """NaN and infinities are replaced inside lists and objects too."""
    text = jsonio.to_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": "é"})

    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": "é"}


def test_format_characters_and_surrogates_are_escaped() -> None:
    """Lone surrogates become U+FFFD; tests/test_escape.py has more cases."""
    assert jsonio.to_json({"\u202e": "a\udcff"}) == r'{"\u202e": "a' + '\ufffd"}'


@pytest.mark.parametrize(
    "text", ["[1]", '{"a":1,"a":2}', '{"a":NaN}', "{", "[" * 100_000, '{"a":"\ud800"'], ids=range(6)
)
def test_invalid_json_is_a_data_error(text) -> None:
    """So are lists, duplicate keys, NaN, truncated and very deeply nested JSON."""
    with pytest.raises(DataError, match=r"x\.json is damaged"):
        jsonio.parse_json_object(text, "x.json")


def test_incomplete_last_line_is_ignored(tmp_path) -> None:
    """Text after the last newline is from an interrupted write."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"step":1}\n{"step":2}\n{"st')

    assert jsonio.read_json_lines(path) == [{"step": 1}, {"step": 2}]
