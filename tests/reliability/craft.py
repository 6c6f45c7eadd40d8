"""Craft hostile files: valid ones with a change and updated hashes."""

import json
import os
import struct
from pathlib import Path
from typing import Any

from charnn.storage import atomic


class Bomb:
    """An object whose pickle creates a file called `marker` when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch marker",)


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file and the bytes after it."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def sealed(header: dict[str, Any] | bytes, body: bytes) -> bytes:
    """Return a safetensors file with this header, valid or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def change(path: Path, *, strings=None, entries=None, body=None) -> None:
    """Change strings and entries in the header of a model file, or its data with the hash.

    None removes an entry.
    """
    header, data = parts(path)
    if body is not None:
        data = body
        header["__metadata__"]["sha256"] = atomic.sha256(body)
    header["__metadata__"] |= strings or {}
    for name, entry in (entries or {}).items():
        if entry is None:
            del header[name]
        else:
            header[name] = {**header.get(name, {}), **entry}
    path.write_bytes(sealed(header, data))


def change_tokenizer(path: Path, edit) -> None:
    """Edit the tokenizer of a model file as JSON."""
    header, _ = parts(path)
    tokenizer = json.loads(header["__metadata__"]["tokenizer"])
    edit(tokenizer)
    change(path, strings={"tokenizer": json.dumps(tokenizer)})


def reseal(folder: Path, name: str, data: bytes) -> None:
    """Replace a file of a checkpoint and update the manifest."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = {"bytes": len(data), "sha256": atomic.sha256(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def reseal_dataset(folder: Path, name: str, data: bytes) -> None:
    """Replace a file of a dataset and update meta.json."""
    (folder / name).write_bytes(data)
    meta = json.loads((folder / "meta.json").read_text())
    place = meta["tokenizer"] if name == "tokenizer.json" else meta["splits"][Path(name).stem]
    place["sha256"] = atomic.sha256(data)
    (folder / "meta.json").write_text(json.dumps(meta))
