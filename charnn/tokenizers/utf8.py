"""Convert text to UTF-8 and back, and count characters and bytes."""

CONTINUATION = bytes(range(0x80, 0xC0))  # the bytes of a character after the first
CHUNK = 1 << 20  # bytes or characters counted per call


def from_utf8(text: str | bytes) -> str:
    """Return a text as `str`; bytes are decoded, with U+FFFD for invalid UTF-8."""
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def to_utf8(text: str) -> bytes:
    """Return the UTF-8 of a text; a lone surrogate is encoded like any other code point."""
    return text.encode("utf-8", "surrogatepass")


def count_bytes(text: str) -> int:
    """Return the number of bytes of a text in UTF-8."""
    if text.isascii():
        return len(text)
    starts = range(0, len(text), CHUNK)
    return sum(len(to_utf8(text[start : start + CHUNK])) for start in starts)


def count_chars(data: bytes) -> int:
    """Return the number of characters that begin in UTF-8 bytes."""
    chunks = (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))
    return sum(len(chunk.translate(None, CONTINUATION)) for chunk in chunks)
