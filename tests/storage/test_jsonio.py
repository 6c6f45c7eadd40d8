"""JSON that every parser accepts, read strictly."""

import json

import pytest

from charnn.errors import DataError
from charnn.storage import jsonio


def test_json_has_null_for_what_is_not_finite() -> None:
    """NaN and infinities inside lists and objects become null."""
    text = jsonio.to_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": "é"})

    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": "é"}


def test_json_is_escaped() -> None:
    """Format characters are escapes, lone surrogates U+FFFD; tests/test_escape.py has the rest."""
    assert jsonio.to_json({"\u202e": "a\udcff"}) == r'{"\u202e": "a' + '\ufffd"}'


@pytest.mark.parametrize(
    "text", ["[1]", '{"a":1,"a":2}', '{"a":NaN}', "{", "[" * 100_000, '{"a":"\ud800"'], ids=range(6)
)
def test_bad_json_is_a_data_error(text) -> None:
    """Lists, repeated keys, NaN, torn and bottomless JSON: DataError, nothing else."""
    with pytest.raises(DataError, match=r"x\.json is damaged"):
        jsonio.parse_json_object(text, "x.json")


def test_a_torn_last_line_is_left_out(tmp_path) -> None:
    """What follows the last newline was never finished."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"step":1}\n{"step":2}\n{"st')

    assert jsonio.read_json_lines(path) == [{"step": 1}, {"step": 2}]
