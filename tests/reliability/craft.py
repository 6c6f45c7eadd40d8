"""Files that lie: real ones with something changed, and their seals made to fit again."""

import json
import os
import struct
from pathlib import Path
from typing import Any

from charnn.storage import atomic


class Bomb:
    """What a pickle of this does when it is opened: it makes a file called `marker`."""

    def __reduce__(self):
        return os.system, ("touch marker",)


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file and the bytes behind it."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def sealed(header: dict[str, Any] | bytes, body: bytes) -> bytes:
    """A safetensors file of this header, however wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def change(path: Path, *, strings=None, entries=None, body=None) -> None:
    """A model file with other strings and entries in its header, or other data with its hash.

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
    """A model file whose tokenizer has been edited as JSON."""
    header, _ = parts(path)
    tokenizer = json.loads(header["__metadata__"]["tokenizer"])
    edit(tokenizer)
    change(path, strings={"tokenizer": json.dumps(tokenizer)})


def reseal(folder: Path, name: str, data: bytes) -> None:
    """A file of a checkpoint replaced, and the manifest made to vouch for it."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = {"bytes": len(data), "sha256": atomic.sha256(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def reseal_dataset(folder: Path, name: str, data: bytes) -> None:
    """A file of a dataset replaced, and meta.json made to vouch for it."""
    (folder / name).write_bytes(data)
    meta = json.loads((folder / "meta.json").read_text())
    place = meta["tokenizer"] if name == "tokenizer.json" else meta["splits"][Path(name).stem]
    place["sha256"] = atomic.sha256(data)
    (folder / "meta.json").write_text(json.dumps(meta))
