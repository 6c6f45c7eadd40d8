"""Gzip data that is unpacked in pieces: round trip, several members, damage."""

import gzip
import random
import tracemalloc

import pytest

from charnn.data.gzip_stream import unpacked, unpacked_if_gzip
from charnn.errors import DataError

TEXT = random.Random(1).randbytes(3000) + b"a" * 3000
PACKED = gzip.compress(TEXT[:2000]) + gzip.compress(b"") + gzip.compress(TEXT[2000:])


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("data", [PACKED, PACKED + bytes(100)])
def test_round_trip_with_chunks_of_any_size(size: int, data: bytes) -> None:
    """The members of a file are unpacked in sequence; zeros after them are padding."""
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    assert b"".join(unpacked_if_gzip(chunks, "a.gz")) == TEXT


@pytest.mark.parametrize("text", [b"", b"\x1f", b"plain\x1f\x8b\n"])
def test_other_data_is_unchanged(text: bytes) -> None:
    """Only the first two bytes decide."""
    chunks = (text[start : start + 1] for start in range(len(text)))
    assert b"".join(unpacked_if_gzip(chunks, "a.txt")) == text


@pytest.mark.parametrize("data", [PACKED[:-1], PACKED + b"\x1f", PACKED + b"more"])
def test_damage_is_a_data_error(data: bytes) -> None:
    """The message names the file."""
    with pytest.raises(DataError, match=r"^a\.gz is not a valid gzip file"):
        list(unpacked([data], "a.gz"))


def test_memory_does_not_depend_on_the_size() -> None:
    """50 MB of zeros are unpacked in pieces of 1 MiB."""
    packed = gzip.compress(bytes(50_000_000), compresslevel=1)
    tracemalloc.start()
    assert sum(map(len, unpacked([packed], "a.gz"))) == 50_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
