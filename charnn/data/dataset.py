"""A prepared dataset on disk: token ids of each split, tokenizer and manifest."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.config import PrepareConfig
from charnn.data.splits import SPLITS, Text
from charnn.errors import DataError, StorageError, UsageError
from charnn.storage import atomic, jsonio
from charnn.storage.workspace import META_FILE
from charnn.tokenizers.tokenizer import Tokenizer
from charnn.tokenizers.tokenizer_json import dump_tokenizer, load_tokenizer

TOKENIZER_FILE = "tokenizer.json"
FORMAT_VERSION = 1
OWN = {META_FILE, TOKENIZER_FILE, *(f"{name}.bin" for name in SPLITS)}  # names in a folder
SOURCE = {"name": str, "split": str, "bytes": int, "sha256": str}  # what it says of each source
COUNTS = ("tokens", "chars", "bytes", "unknown")  # what the manifest counts of each split


@dataclass(frozen=True)
class Dataset:
    """Ids of every split and what they mean; `fingerprint` identifies all of it."""

    name: str
    folder: Path
    tokenizer: Tokenizer
    splits: Mapping[str, Ids]
    start_token: int
    records: bool
    fingerprint: str
    meta: Mapping[str, Any]

    def split(self, name: str) -> Ids:
        """The ids of a split. Raises DataError where the dataset has none of that name."""
        if name not in self.splits:
            have = ", ".join(self.splits)
            raise DataError(
                f"dataset {self.name} has no {name} split; it has {have}",
                f"prepare it again with --{name}-frac or --{name} FILE",
            )
        return self.splits[name]

    def chars_per_token(self, name: str) -> float:
        """Characters that a token of a split stands for, on average."""
        described = self.meta["splits"][name]
        return float(described["chars"] / max(1, described["tokens"]))


def write_dataset(
    folder: Path,
    splits: Mapping[str, Text],
    tokenizer: Tokenizer,
    config: PrepareConfig,
    sources: list[dict[str, Any]],
    *,
    replace: bool = False,
) -> tuple[dict[str, Any], bool]:
    """Encode the splits into `folder`, which appears complete or not at all.

    Returns the manifest, and whether the folder held exactly this already. The same texts and
    settings give the same bytes. Raises UsageError where another dataset is there and `replace`
    is not set, StorageError where it cannot be written, or something else is there.
    """
    ids = {name: tokenizer.encode(text) for name, text in splits.items()}
    tokenizer_json = dump_tokenizer(tokenizer).encode()
    meta = {
        "format_version": FORMAT_VERSION,
        "dtype": tokenizer.dtype.name,
        "tokenizer": {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "sha256": atomic.sha256(tokenizer_json),
        },
        "start_token": _start_token(ids["train"], tokenizer),
        "splits": {name: _described(splits[name], ids[name], tokenizer) for name in splits},
        "sources": sources,
        "policies": config.model_dump(mode="json"),
    }
    manifest = (jsonio.to_json(meta, indent=2) + "\n").encode()
    if folder.exists() and _is_same(folder, manifest):
        return meta, True
    _refuse_foreign(folder)
    if folder.exists() and not replace:
        raise UsageError(
            f"{folder} exists already and would change", "give another --name, or --force"
        )
    atomic.make_folder(folder.parent)
    with atomic.new_folder(folder, replace=replace) as new:
        for name, tokens in ids.items():
            atomic.write_new(new / f"{name}.bin", tokens.data)
        atomic.write_new(new / TOKENIZER_FILE, tokenizer_json)
        atomic.write_new(new / META_FILE, manifest)
    return meta, False


def _is_same(folder: Path, manifest: bytes) -> bool:
    """Whether the folder holds this dataset, whole; if so it becomes the one prepared last."""
    path = folder / META_FILE
    if not path.is_file() or path.read_bytes() != manifest:
        return False
    try:
        open_dataset(folder)
    except (DataError, StorageError):
        return False
    path.touch()
    return True


def _refuse_foreign(folder: Path) -> None:
    """Nothing makes way for a dataset but another: a folder of that name may hold the texts."""
    hint = "give another --name"
    if folder.is_dir():
        atomic.refuse_foreign(folder, OWN, hint)
    elif folder.exists():
        raise StorageError(f"{folder} is a file, not a dataset", hint)


def _described(text: Text, ids: Ids, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "tokens": len(ids),
        "chars": _count_chars(text),
        "bytes": len(text) if isinstance(text, bytes) or text.isascii() else len(_utf8(text)),
        "sha256": atomic.sha256(ids.data.cast("B")),
        "unknown": _count_unknown(ids, tokenizer.unk_id),
    }


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _count_chars(text: Text) -> int:
    if isinstance(text, str):
        return len(text)
    parts = _in_parts(np.frombuffer(text, np.uint8))
    return sum(int(np.count_nonzero((part & 0xC0) != 0x80)) for part in parts)  # noqa: PLR2004 - UTF-8


def _count_unknown(ids: Ids, unk_id: int | None) -> int:
    if unk_id is None:
        return 0
    return sum(int(np.count_nonzero(part == unk_id)) for part in _in_parts(ids))


def _in_parts(array: Ids) -> Iterator[Ids]:
    """An array a part at a time, so that what is computed from it takes little memory."""
    for start in range(0, len(array), atomic.CHUNK):
        yield array[start : start + atomic.CHUNK]


def _start_token(train: Ids, tokenizer: Tokenizer) -> int:
    """The newline's id if it is in the vocabulary, else the commonest token of the train split."""
    newline = b"\n"
    if newline in tokenizer.pieces:
        return tokenizer.pieces.index(newline)
    counts = symbol_counts(train, tokenizer)
    if tokenizer.unk_id is not None:
        counts[tokenizer.unk_id] = -1
    return int(counts.argmax())


def symbol_counts(ids: Ids, tokenizer: Tokenizer) -> Integers:
    """How often each symbol stands there, (V,); the one for what is unknown counts as never."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for part in _in_parts(ids):  # bincount widens what it counts to 64 bits
        counts += np.bincount(part, minlength=len(counts))
    if tokenizer.unk_id is not None:
        counts[tokenizer.unk_id] = 0
    return counts


def open_dataset(folder: Path) -> Dataset:
    """The dataset in a folder, its files checked against the manifest and copied into memory.

    Raises StorageError if it cannot be read, DataError if it is damaged.
    """
    meta = read_meta(folder)
    tokenizer_json = atomic.read_bytes(folder / TOKENIZER_FILE)
    try:
        _check_hash(folder / TOKENIZER_FILE, tokenizer_json, meta["tokenizer"]["sha256"])
        tokenizer = load_tokenizer(tokenizer_json.decode("utf-8", "replace"))
        splits = {
            name: _read_split(folder / f"{name}.bin", meta["splits"][name], tokenizer)
            for name in SPLITS
            if name in meta["splits"]
        }
        start_token = meta["start_token"]
        records = meta["policies"]["lines"]
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder / META_FILE, f"{error} is missing or of the wrong kind") from None
    if not (isinstance(start_token, int) and 0 <= start_token < tokenizer.vocab_size):
        raise _damaged(folder / META_FILE, "start_token is not a token")
    if "train" not in splits:
        raise _damaged(folder / META_FILE, "there is no training split")
    if not _are_sources(meta.get("sources")):
        raise _damaged(folder / META_FILE, "sources are missing or of the wrong kind")
    return Dataset(
        folder.resolve().name,
        folder,
        tokenizer,
        splits,
        start_token,
        records is True,
        fingerprint(meta),
        meta,
    )


def _are_sources(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(source, dict) and {name: type(item) for name, item in source.items()} == SOURCE
        for source in value
    )


def find_dataset_of(wanted: str, data_dir: Path) -> Dataset:
    """The dataset in `data_dir` with this fingerprint. Raises DataError where there is none."""
    for path in sorted(data_dir.glob(f"*/{META_FILE}")):
        with contextlib.suppress(DataError, StorageError, KeyError, TypeError):
            if fingerprint(read_meta(path.parent)) == wanted:
                return open_dataset(path.parent)
    raise DataError(
        f"the dataset that this model was trained on is not in {data_dir}",
        "prepare it again, give --data-dir, or name a file",
    )


def training_text(wanted: str, data_dir: Path) -> str:
    """The train split of the dataset with this fingerprint; U+FFFD for what was not known.

    Raises DataError where the dataset is not there.
    """
    dataset = find_dataset_of(wanted, data_dir)
    return dataset.tokenizer.decode(dataset.split("train").tolist()).decode("utf-8", "replace")


def read_meta(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset folder. Raises StorageError or DataError."""
    path = folder / META_FILE
    if not path.is_file():
        raise StorageError(f"{folder} is not a dataset: it has no {META_FILE}", "charnn prepare")
    meta = jsonio.parse_json_object(atomic.read_bytes(path), str(path))
    if meta.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {meta.get('format_version')!r}; "
            f"this charnn reads {FORMAT_VERSION}",
            "prepare the corpus again",
        )
    return meta


def fingerprint(meta: Mapping[str, Any]) -> str:
    """One hash over the hashes of the tokenizer and of every split."""
    parts = [meta["tokenizer"]["sha256"]]
    parts += [
        f"{name}:{meta['splits'][name]['sha256']}" for name in SPLITS if name in meta["splits"]
    ]
    return atomic.sha256("\n".join(parts).encode())


def _read_split(path: Path, described: Mapping[str, Any], tokenizer: Tokenizer) -> Ids:
    for count in COUNTS:
        if type(described[count]) is not int or described[count] < 0:
            raise _damaged(path.with_name(META_FILE), f"{count} of {path.stem} is no count")
    data = atomic.read_bytes(path)
    expected = described["tokens"] * tokenizer.dtype.itemsize
    if len(data) != expected:
        raise _damaged(path, f"it has {len(data):,} bytes, the manifest says {expected:,}")
    _check_hash(path, data, described["sha256"])
    ids: Ids = np.frombuffer(data, tokenizer.dtype)
    if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
        raise _damaged(path, f"id {int(ids.max())} is beyond the {tokenizer.vocab_size} tokens")
    return ids


def _check_hash(path: Path, data: bytes, expected: str) -> None:
    if atomic.sha256(data) != expected:
        raise _damaged(path, "it is not what was prepared (SHA-256 differs)")


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged: {why}", "prepare the corpus again with --force")
