"""Split text into words; nothing is left out."""

import re
import warnings
from collections.abc import Iterator

from charnn.errors import UsageError

# A word is what stands between spaces and punctuation, apostrophes inside it included. Not \w:
# there `re` and other engines disagree, and `re` breaks words at combining marks.
_PUNCTUATION = r"!-/:-@\[-`{-~¡-¿‐-‧‰-⁞、-〿！-／：-＠"
WORD_PATTERN = rf" ?[^\s{_PUNCTUATION}]+(?:['’][^\s{_PUNCTUATION}]+)*| ?[{_PUNCTUATION}]|\s"


def words(text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    """The units of a text: what the pattern matches, and what lies between, nothing left out."""
    end = 0
    for match in pattern.finditer(text):
        if match.start() > end:
            yield text[end : match.start()]
        if match.group():
            yield match.group()
        end = match.end()
    if end < len(text):
        yield text[end:]


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern of words that a user or a file gave. Raises UsageError where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what may mean something else one day
            return re.compile(pattern)
    except re.error as error:
        place = f" at character {error.pos}" if error.pos is not None else ""
        raise UsageError(f"--word-pattern {pattern!r}: {error.msg}{place}") from None
    except (RecursionError, OverflowError) as error:
        raise UsageError(f"--word-pattern: {error}", "use a simpler one") from None
