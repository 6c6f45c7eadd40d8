"""What a stream can show: control codes, colors, Unicode."""

import locale
import os
import sys
from typing import TextIO


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is open and a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def obeys_codes(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that moves its cursor and has colors, by TERM."""
    return is_terminal(stream) and os.environ.get("TERM") not in ("dumb", "unknown")


def has_color(stream: TextIO | None) -> bool:
    """Return whether colors may be written: a terminal that has them, and NO_COLOR is not set."""
    return obeys_codes(stream) and not os.environ.get("NO_COLOR")


def has_unicode(stream: TextIO | None) -> bool:
    """Return whether a stream shows Unicode.

    In Python's UTF-8 mode, which `cli` switches on, the encoding of a stream says nothing about
    the terminal; the locale does.
    """
    encodings = [getattr(stream, "encoding", None) or "utf-8"]
    if sys.flags.utf8_mode and is_terminal(stream):
        encodings.append(locale.getencoding())
    return all(encoding.lower().startswith("utf") for encoding in encodings)
