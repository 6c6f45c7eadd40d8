"""Detect whether a stream supports control codes, colors and Unicode."""

import locale
import os
import sys
from typing import TextIO


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is an open terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def supports_control_codes(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that, by TERM, can move its cursor."""
    return is_terminal(stream) and os.environ.get("TERM") not in ("dumb", "unknown")


def has_color(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal with control codes and NO_COLOR is not set."""
    return supports_control_codes(stream) and not os.environ.get("NO_COLOR")


def has_unicode(stream: TextIO | None) -> bool:
    """Return whether a stream can show Unicode.

    In Python's UTF-8 mode, which `cli` enables, the encoding of every stream is UTF-8; what a
    terminal can show depends on the locale.
    """
    encodings = [getattr(stream, "encoding", None) or "utf-8"]
    if sys.flags.utf8_mode and is_terminal(stream):
        encodings.append(locale.getencoding())
    return all(encoding.lower().startswith("utf") for encoding in encodings)
