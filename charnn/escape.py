"""Escape characters that could control a terminal, in text and in JSON."""

import json
import re
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class _Escapes(dict[int, int | str]):
    """A table for `str.translate` that is filled as characters are looked up.

    It escapes control characters, format characters (bidi overrides, invisible tags), line
    separators and lone surrogates. Zero-width joiners are kept: Persian, Hindi and emoji need them.
    """

    _CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")  # general categories of Unicode
    _JOINERS = "\u200c\u200d"

    def __init__(self, kept: str) -> None:
        super().__init__((ord(character), character) for character in kept + self._JOINERS)

    def __missing__(self, code: int) -> int | str:
        escaped = unicodedata.category(chr(code)) in self._CATEGORIES
        self[code] = chr(code).encode("unicode_escape").decode("ascii") if escaped else code
        return self[code]


_IN_TEXT = _Escapes("\n\t")
_IN_NAME = _Escapes("")


def visible(text: str, *, one_line: bool = False) -> str:
    r"""Return `text` with control and format characters escaped, for instance as `\x1b`.

    Newlines and tabs are kept unless `one_line` is set, which is for names in messages.
    """
    return text.translate(_IN_NAME if one_line else _IN_TEXT)


# The characters that `visible` escapes and `json` does not: DEL, C1, format characters except the
# two joiners, line separators. A regular expression, because looking up each character is slow.
_UNESCAPED_BY_JSON = re.compile(
    "[\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f]"
)


def escape_json(text: str) -> str:
    """Escape control and format characters in JSON; replace lone surrogates by U+FFFD."""
    return _UNESCAPED_BY_JSON.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return REPLACEMENT if "\ud800" <= character <= "\udfff" else json.dumps(character)[1:-1]
