"""Read and write arrays and strings in one safetensors file.

Nothing in a file is executed, and every size in its header is checked against the file before it
is used.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from charnn.arrays import AnyArray
from charnn.errors import DataError
from charnn.storage import atomic, jsonio

MAX_HEADER = 100_000_000  # bytes; the limit of safetensors itself
LENGTH_PREFIX = 8  # bytes of little-endian header length at the start of the file
MAX_DIGITS = 40  # of a number in a string; Python refuses to parse more than 4,300
PICKLE_OR_ZIP = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
FORMAT, FORMAT_VERSION = "format", "format_version"  # strings in every file of charnn


def pack(tensors: Mapping[str, AnyArray], strings: Mapping[str, str]) -> bytes:
    """Return the bytes of a file; the same arrays and strings give the same bytes.

    `sha256`, of all bytes after the header, is added to the strings. The library decides how the
    arrays are arranged. It would write the strings in a random order, so only the arrays are given
    to it, and the header is written again with the strings in front.
    """
    from safetensors.numpy import save

    body = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    start = data_start(body)
    all_strings = {**strings, "sha256": atomic.sha256(memoryview(body)[start:])}
    header = {"__metadata__": all_strings, **json.loads(body[LENGTH_PREFIX:start])}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_PREFIX)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(LENGTH_PREFIX, "little") + text + body[start:]


@dataclass(frozen=True)
class Packed:
    """A file of which only the header has been parsed.

    `entries` is the part of the header about the arrays: dtype and shape of each.
    """

    path: Path
    data: bytes
    strings: dict[str, str]
    entries: dict[str, Any]

    def check(self, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]) -> None:
        """Raise DataError unless the header lists exactly these arrays; dtypes default to F32."""
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
        """Return the number in one of the strings. Raises DataError if it is not a number."""
        text = self.strings.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
            raise damaged(self.path, f"{name} {text[:20]!r} is not a number")
        return int(text)

    def tensors(self) -> dict[str, AnyArray]:
        """Return the arrays. Raises DataError if their bytes do not match the SHA-256."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        if self.strings.get("sha256") != self.digest:
            raise damaged(self.path, "the weights do not match their SHA-256")
        try:
            return load(self.data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise damaged(self.path, str(error)) from None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all bytes after the header."""
        return atomic.sha256(memoryview(self.data)[data_start(self.data) :])


def unpack(path: Path, kind: str, version: int, writer: str) -> Packed:
    """Read a file and parse the header; `kind` is its format, `writer` the command that writes it.

    Raises DataError for a file that is damaged or of another format, StorageError if it cannot be
    read.
    """
    data = atomic.read_bytes(path)
    _refuse_pickle(data, path)
    length = int.from_bytes(data[:LENGTH_PREFIX], "little")
    if len(data) < LENGTH_PREFIX or length > min(len(data) - LENGTH_PREFIX, MAX_HEADER):
        raise damaged(path, "its header is cut short or it is no safetensors file")
    entries = jsonio.parse_json_object(data[LENGTH_PREFIX : LENGTH_PREFIX + length], str(path))
    strings = entries.pop("__metadata__", None)
    if not isinstance(strings, dict) or strings.get(FORMAT) != kind:
        raise DataError(f"{path} was not written by {writer}", f"give a file that {writer} wrote")
    if strings.get(FORMAT_VERSION) != str(version):
        raise DataError(
            f"{path} has format version {strings.get(FORMAT_VERSION)!r}; "
            f"this charnn reads {version}",
            "update charnn",
        )
    if not all(isinstance(value, str) for value in strings.values()):
        raise damaged(path, "its header holds something that is not a string")
    return Packed(path, data, strings, entries)


def data_start(data: bytes) -> int:
    """Return the offset of the first array."""
    return LENGTH_PREFIX + int.from_bytes(data[:LENGTH_PREFIX], "little")


def _refuse_pickle(data: bytes, path: Path) -> None:
    # The length prefix of a safetensors file may begin with any bytes, its header with "{" only.
    has_header = data[LENGTH_PREFIX : LENGTH_PREFIX + 1] == b"{"
    if not has_header and data.startswith(PICKLE_OR_ZIP):
        raise DataError(
            f"{path} is a pickle or zip archive; charnn never opens those, they can run code",
            "give a file that charnn wrote",
        )


def damaged(path: Path, why: str) -> DataError:
    """Return the error for a file whose contents are not as documented."""
    return DataError(f"{path} is damaged: {why[:500]}", "copy it again, or make it again")
