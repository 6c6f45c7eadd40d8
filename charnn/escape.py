"""Escape the characters that a terminal obeys instead of showing, in text and in JSON."""

import json
import re
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class _Escapes(dict[int, int | str]):
    """What `str.translate` puts for each character, worked out when it is first met.

    Replaced is what a terminal obeys instead of showing: controls, format characters (bidi
    overrides, invisible tags), line separators, lone surrogates. Zero-width joiners stay, for
    Persian, Hindi and emoji are written with them.
    """

    _UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # general categories of Unicode
    _JOINERS = "\u200c\u200d"

    def __init__(self, kept: str) -> None:
        super().__init__((ord(character), character) for character in kept + self._JOINERS)

    def __missing__(self, code: int) -> int | str:
        unseen = unicodedata.category(chr(code)) in self._UNSEEN
        self[code] = chr(code).encode("unicode_escape").decode("ascii") if unseen else code
        return self[code]


_IN_TEXT = _Escapes("\n\t")
_IN_NAME = _Escapes("")


def visible(text: str, *, one_line: bool = False) -> str:
    r"""`text` with everything that could steer a terminal shown as an escape such as `\x1b`.

    Newlines and tabs stay, unless `one_line` asks for `\n` and `\t`, as names in messages need.
    """
    return text.translate(_IN_NAME if one_line else _IN_TEXT)


# What `visible` escapes and `json` does not: DEL, C1, format characters but for the two
# joiners, line separators; as ranges, for to ask Unicode about each character takes too long.
_STEERING = re.compile(
    "[\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f]"
)


def escape_json(text: str) -> str:
    """The JSON with escapes of the same value, and U+FFFD for lone surrogates, which have none."""
    return _STEERING.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return REPLACEMENT if "\ud800" <= character <= "\udfff" else json.dumps(character)[1:-1]
