"""Read and write arrays and strings in one safetensors file.

Reading executes no code, and every size in the header is validated before it is used.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from charnn.arrays import AnyArray
from charnn.errors import DataError
from charnn.storage import atomic, jsonio

MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library
LENGTH_PREFIX = 8  # bytes: the little-endian header length at the start of a file
MAX_DIGITS = 40  # digits of a number in a string; Python parses at most 4,300
PICKLE_OR_ZIP = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
FORMAT, FORMAT_VERSION = "format", "format_version"  # metadata keys of every charnn file


def pack(tensors: Mapping[str, AnyArray], strings: Mapping[str, str]) -> bytes:
    """Return the bytes of a file; the same arrays and strings give the same bytes.

    Adds the string `sha256`, the hash of all bytes after the header. The safetensors library
    writes strings in random order, so it serializes only the arrays, and the header is then
    replaced by one that begins with the strings.
    """
    from safetensors.numpy import save

    body = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    start = data_start(body)
    all_strings = {**strings, "sha256": atomic.sha256(memoryview(body)[start:])}
    header = {"__metadata__": all_strings, **json.loads(body[LENGTH_PREFIX:start])}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_PREFIX)  # aligns the arrays to eight bytes
    return len(text).to_bytes(LENGTH_PREFIX, "little") + text + body[start:]


@dataclass(frozen=True)
class Packed:
    """A safetensors file of which only the header has been parsed.

    `strings` is the metadata, and `entries` has the dtype and shape of each array.
    """

    path: Path
    data: bytes
    strings: dict[str, str]
    entries: dict[str, Any]

    def check(self, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]) -> None:
        """Raise DataError unless the file has exactly these arrays; the default dtype is F32."""
        if self.entries.keys() != shapes.keys():
            name = min(self.entries.keys() ^ shapes.keys())
            problem = "unexpected" if name in self.entries else "missing"
            raise damaged(self.path, f"tensor {name!r} is {problem}")
        for name, shape in shapes.items():
            entry, dtype = self.entries[name], dtypes.get(name, "F32")
            claimed = entry.get("shape") if isinstance(entry, dict) else None
            if claimed != list(shape) or entry.get("dtype") != dtype:
                raise damaged(self.path, f"tensor {name} should be {dtype} {shape}, not {entry}")

    def integer(self, name: str) -> int:
        """Return a string as an integer. Raise DataError if it is not a decimal number."""
        text = self.strings.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
            raise damaged(self.path, f"{name} {text[:20]!r} is not a number")
        return int(text)

    def tensors(self) -> dict[str, AnyArray]:
        """Return the arrays. Raise DataError if their bytes do not match the SHA-256."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        if self.strings.get("sha256") != self.digest:
            raise damaged(self.path, "the SHA-256 of the tensors does not match the header")
        try:
            return load(self.data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise damaged(self.path, str(error)) from None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all bytes after the header."""
        return atomic.sha256(memoryview(self.data)[data_start(self.data) :])


def unpack(path: Path, kind: str, version: int, writer: str) -> Packed:
    """Read a file and parse its header; `kind` is the format, `writer` the command that writes it.

    Raise DataError if the file is damaged or has another format, StorageError if it cannot be
    read.
    """
    data = atomic.read_bytes(path)
    _refuse_pickle(data, path)
    hint = f"pass a file written by {writer}"
    length = int.from_bytes(data[:LENGTH_PREFIX], "little")
    if not _has_header(data):
        what = kind.replace("-", " ")
        raise DataError(f"{path} is not a {what} (not a safetensors file)", hint)
    if length > len(data) - LENGTH_PREFIX:
        raise damaged(path, "the header is truncated")
    entries = jsonio.parse_json_object(data[LENGTH_PREFIX : LENGTH_PREFIX + length], str(path))
    strings = entries.pop("__metadata__", None)
    if not isinstance(strings, dict) or strings.get(FORMAT) != kind:
        raise DataError(f"{path} was not written by {writer}", hint)
    if strings.get(FORMAT_VERSION) != str(version):
        raise DataError(
            f"{path} has format version {strings.get(FORMAT_VERSION)!r}; "
            f"this version of charnn reads {version}",
            "update charnn",
        )
    if not all(isinstance(value, str) for value in strings.values()):
        raise damaged(path, "the metadata contains a value that is not a string")
    return Packed(path, data, strings, entries)


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as a safetensors file or an archive of another framework does.

    Raise StorageError if it cannot be read.
    """
    with atomic.storage_errors("read", path), path.open("rb") as file:
        data = file.read(LENGTH_PREFIX + 1)
    return _has_header(data) or data.startswith(PICKLE_OR_ZIP)


def _has_header(data: bytes) -> bool:
    # The length prefix of a safetensors file may be any bytes, but its header begins with "{".
    length = int.from_bytes(data[:LENGTH_PREFIX], "little")
    return length <= MAX_HEADER and data[LENGTH_PREFIX : LENGTH_PREFIX + 1] == b"{"


def read_strings(path: Path) -> dict[str, str]:
    """Return the metadata of a file without reading its arrays, or nothing if it has none.

    Raise StorageError if it cannot be read, DataError if its header is not JSON or its arrays are
    truncated.
    """
    with atomic.storage_errors("read", path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(LENGTH_PREFIX)
        header = file.read(min(int.from_bytes(prefix, "little"), MAX_HEADER))
    if not _has_header(prefix + header[:1]):
        raise damaged(path, "it is not a safetensors file")
    entries = jsonio.parse_json_object(header, str(path))
    strings = entries.pop("__metadata__", None)
    try:
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (TypeError, KeyError, IndexError):
        raise damaged(path, "an entry of the header is invalid") from None
    expected = LENGTH_PREFIX + len(header) + end
    if size != expected:
        raise damaged(path, f"it has {size:,} bytes; expected {expected:,}")
    return strings if isinstance(strings, dict) else {}


def data_start(data: bytes) -> int:
    """Return the offset of the first array."""
    return LENGTH_PREFIX + int.from_bytes(data[:LENGTH_PREFIX], "little")


def _refuse_pickle(data: bytes, path: Path) -> None:
    if not _has_header(data) and data.startswith(PICKLE_OR_ZIP):
        raise DataError(
            f"{path} is a pickle or zip archive, which charnn does not load: it can execute code",
            "pass a file written by charnn",
        )


def damaged(path: Path, why: str) -> DataError:
    """Return the error for a file whose contents do not follow the documented format."""
    return DataError(f"{path} is damaged: {why[:500]}", "copy or create the file again")
