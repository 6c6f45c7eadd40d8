"""Unpack gzip data in pieces, so that memory does not depend on its size."""

import zlib
from collections.abc import Iterable, Iterator

from charnn.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
GZIP_FORMAT = 31  # `wbits` of zlib for a gzip header and the largest window
UNPACKED = 1 << 20  # bytes unpacked at once


def unpacked_if_gzip(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield the chunks of a file as they arrive, unpacked if the file has the gzip signature.

    Raise DataError if the gzip data is damaged or truncated.
    """
    first = next(chunks, b"")
    if first == GZIP_MAGIC[:1]:
        first += next(chunks, b"")
    rest = _preceded(first, chunks)
    yield from unpacked(rest, name) if first.startswith(GZIP_MAGIC) else rest


def _preceded(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from chunks


def unpacked(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield what the chunks of a gzip file contain, at most UNPACKED bytes at once.

    A file may have several members, followed by zeros. `name` is for the messages. Raise DataError
    if the data is damaged or truncated.
    """
    member = zlib.decompressobj(GZIP_FORMAT)
    is_inside = False  # whether a member has begun and has not ended
    for chunk in chunks:
        waiting = chunk
        while waiting:
            if member.eof:
                waiting = waiting.lstrip(b"\0")
                if not waiting:
                    break
                member = zlib.decompressobj(GZIP_FORMAT)
            try:
                data = member.decompress(waiting, UNPACKED)
            except zlib.error as error:
                raise _damaged(name, str(error)) from None
            is_inside = not member.eof
            waiting = member.unused_data if member.eof else member.unconsumed_tail
            if data:
                yield data
    if is_inside:
        raise _damaged(name, "file is truncated")


def _damaged(name: str, reason: str) -> DataError:
    return DataError(f"{name} is not a valid gzip file: {reason}", "copy or download it again")
