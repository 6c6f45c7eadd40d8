"""Encode text as UTF-8 and count the characters in UTF-8 bytes."""

CONTINUATION = bytes(range(0x80, 0xC0))  # bytes of a character after its first one
CHUNK = 1 << 20  # bytes counted at once


def to_utf8(text: str) -> bytes:
    """Return the UTF-8 of a text; a lone surrogate is encoded like any other code point."""
    return text.encode("utf-8", "surrogatepass")


def count_chars(data: bytes) -> int:
    """Return the number of characters that begin in UTF-8 bytes."""
    chunks = (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))
    return sum(len(chunk.translate(None, CONTINUATION)) for chunk in chunks)
