"""JSON that steers no terminal: what one obeys instead of showing, written as an escape.

Never knows: what the JSON says.
"""

import json
import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# What `display.visible` escapes and `json` does not: DEL, C1, format characters but for the two
# joiners, line separators; as ranges, for to ask Unicode about each character takes too long.
_STEERING = re.compile(
    "[\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f]"
)


def escaped(text: str) -> str:
    """The JSON with escapes of the same value, and U+FFFD for lone surrogates, which have none."""
    return _STEERING.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return REPLACEMENT if "\ud800" <= character <= "\udfff" else json.dumps(character)[1:-1]
