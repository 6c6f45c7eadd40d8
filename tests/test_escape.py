"""Escapes of control and format characters, in text and in JSON."""

import json
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from charnn.escape import escape_json, visible

TEXTS = st.text(st.characters(exclude_categories=()))  # lone surrogates too


@given(TEXTS)
@example("\x1b]52;c;ZXZpbA==\x07 \x9b31m \u202egnp.exe \u2028 \udce9 \U000e0041")
def test_visible_text_cannot_control_a_terminal(text):
    """It contains no control, format, separator or surrogate characters except joiners."""
    shown = visible(text)
    for character in set(shown) - set("\n\t\u200c\u200d"):
        assert unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    shown.encode("utf-8")


@given(TEXTS)
def test_one_line_escapes_newlines_and_tabs(text):
    """With one_line, the text contains no line break or tab."""
    assert not set(visible(text, one_line=True)) & set("\n\t\r\v\f\x85\u2028\u2029")


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs"))))
def test_printable_text_is_unchanged(text):
    """Letters, marks, digits, punctuation, symbols and spaces of all scripts are kept."""
    assert visible(text) == text


def test_escapes_have_python_syntax():
    """Zero-width joiners are kept, because emoji need them."""
    assert visible("a\x1b[0m\r\x7f\u202e\n\tb") == "a\\x1b[0m\\r\\x7f\\u202e\n\tb"
    assert visible("a\n\tb", one_line=True) == "a\\n\\tb"
    assert visible("👩\u200d🚀") == "👩\u200d🚀"


def test_escaped_json_cannot_control_a_terminal():
    """Every character that `visible` escapes is escaped; the value is unchanged."""
    everything = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    text = escape_json(json.dumps(everything, ensure_ascii=False))

    assert visible(text) == text
    assert json.loads(text) == everything
    assert escape_json('"\u200d\u200c é"') == '"\u200d\u200c é"'
    assert escape_json('{"\x9b\u202e": 1}') == r'{"\u009b\u202e": 1}'


def test_lone_surrogates_in_json_are_replaced():
    """They become U+FFFD, because not every parser accepts their escapes."""
    assert escape_json('"a\udcff"') == '"a\ufffd"'
