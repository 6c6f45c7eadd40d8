"""A prepared dataset on disk: token ids of each split, tokenizer and manifest."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.config import PrepareConfig
from charnn.data.splits import SPLITS
from charnn.errors import DataError, StorageError, UsageError
from charnn.storage import atomic, jsonio
from charnn.storage.workspace import META_FILE, TOKENIZER_FILE
from charnn.tokenizers.tokenizer import Tokenizer
from charnn.tokenizers.tokenizer_json import dump_tokenizer, load_tokenizer

FORMAT_VERSION = 1
FILES = {META_FILE, TOKENIZER_FILE, *(f"{name}.bin" for name in SPLITS)}  # names in a folder
SOURCE = {"name": str, "split": str, "bytes": int, "sha256": str}  # the manifest on a source
COUNTED = 1 << 20  # tokens counted at once; bincount converts them to 64 bits
COUNTS = ("tokens", "chars", "bytes", "unknown")  # the manifest on a split


@dataclass(frozen=True)
class EncodedSplit:
    """Token ids of a split, the size of its text, and its symbols outside the vocabulary."""

    ids: Ids
    chars: int
    bytes: int
    unknown: Counter[str]


@dataclass(frozen=True)
class Dataset:
    """Token ids of every split, the tokenizer, and the manifest that describes them."""

    folder: Path
    tokenizer: Tokenizer
    splits: Mapping[str, Ids]
    meta: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def start_token(self) -> int:
        """Id that is read before the first token of a text."""
        return int(self.meta["start_token"])

    @property
    def records(self) -> bool:
        """Whether each line is a text of its own."""
        return bool(self.meta["policies"]["lines"])

    @property
    def fingerprint(self) -> str:
        """Hash of the tokenizer and of every split."""
        return fingerprint(self.meta)

    def split(self, name: str) -> Ids:
        """Return the ids of a split. Raises DataError if the dataset does not have it."""
        if name not in self.splits:
            have = ", ".join(self.splits)
            raise DataError(
                f"dataset {self.name} has no {name} split; it has {have}",
                f"prepare it again with --{name}-frac or --{name} FILE",
            )
        return self.splits[name]

    def text(self, name: str) -> str:
        """Return the text of a split, with U+FFFD for `<unk>` and for bytes that are not UTF-8."""
        return self.tokenizer.decode(self.split(name).tolist()).decode("utf-8", "replace")

    def chars_per_token(self, name: str) -> float:
        """Return the mean number of characters in a token of a split."""
        described = self.meta["splits"][name]
        return float(described["chars"] / max(1, described["tokens"]))


def new_dataset(
    folder: Path,
    tokenizer: Tokenizer,
    splits: Mapping[str, EncodedSplit],
    config: PrepareConfig,
    sources: Sequence[Mapping[str, Any]] = (),
) -> Dataset:
    """Return a dataset that is not written yet; the same arguments give the same manifest."""
    ids = {name: split.ids for name, split in splits.items()}
    meta = {
        "format_version": FORMAT_VERSION,
        "dtype": tokenizer.dtype.name,
        "tokenizer": {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "sha256": atomic.sha256(dump_tokenizer(tokenizer).encode()),
        },
        "start_token": _start_token(ids["train"], tokenizer),
        "splits": {name: _described(split) for name, split in splits.items()},
        "sources": list(sources),
        "policies": config.model_dump(mode="json"),
    }
    return Dataset(folder, tokenizer, ids, meta)


def _described(split: EncodedSplit) -> dict[str, Any]:
    return {
        "tokens": len(split.ids),
        "chars": split.chars,
        "bytes": split.bytes,
        "sha256": atomic.sha256(split.ids.data.cast("B")),
        "unknown": split.unknown.total(),
    }


def _start_token(train: Ids, tokenizer: Tokenizer) -> int:
    """Return the newline's id if it is in the vocabulary, else the most frequent token's."""
    newline = b"\n"
    if newline in tokenizer.pieces:
        return tokenizer.pieces.index(newline)
    counts = symbol_counts(train, tokenizer)
    if tokenizer.unk_id is not None:
        counts[tokenizer.unk_id] = -1
    return int(counts.argmax())


def symbol_counts(ids: Ids, tokenizer: Tokenizer) -> Integers:
    """Return the number of times that each token occurs, (V,); 0 for `<unk>`."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for part in _in_parts(ids):
        counts += np.bincount(part, minlength=len(counts))
    if tokenizer.unk_id is not None:
        counts[tokenizer.unk_id] = 0
    return counts


def _in_parts(array: Ids) -> Iterator[Ids]:
    for start in range(0, len(array), COUNTED):
        yield array[start : start + COUNTED]


def is_written(dataset: Dataset) -> bool:
    """Return whether the folder of a dataset already holds exactly this, undamaged."""
    path = dataset.folder / META_FILE
    if not path.is_file() or path.read_bytes() != _manifest(dataset):
        return False
    try:
        open_dataset(dataset.folder)
    except (DataError, StorageError):
        return False
    return True


def write_dataset(dataset: Dataset, *, replace: bool = False) -> None:
    """Write a dataset to its folder, which appears complete or not at all.

    Raises UsageError if a dataset is there and `replace` is not set, StorageError if it cannot be
    written, or if the folder has files that are not of a dataset.
    """
    folder = dataset.folder
    _refuse_foreign(folder)
    if folder.exists() and not replace:
        raise UsageError(
            f"{folder} exists already and would change", "give another --name, or --force"
        )
    atomic.make_folder(folder.parent)
    with atomic.new_folder(folder, replace=replace) as new:
        for name, ids in dataset.splits.items():
            atomic.write_new(new / f"{name}.bin", ids.data)
        atomic.write_new(new / TOKENIZER_FILE, dump_tokenizer(dataset.tokenizer).encode())
        atomic.write_new(new / META_FILE, _manifest(dataset))


def _manifest(dataset: Dataset) -> bytes:
    return (jsonio.to_json(dict(dataset.meta), indent=2) + "\n").encode()


def _refuse_foreign(folder: Path) -> None:
    """Raise StorageError if there is something that is not a dataset, such as the texts."""
    hint = "give another --name"
    if folder.is_dir():
        atomic.refuse_foreign(folder, FILES, hint)
    elif folder.exists():
        raise StorageError(f"{folder} is a file, not a dataset", hint)


def open_dataset(folder: Path) -> Dataset:
    """Read the dataset in a folder into memory and check its files against the manifest.

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
        start_token, lines = meta["start_token"], meta["policies"]["lines"]
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder / META_FILE, f"{error} is missing or of the wrong kind") from None
    if not (isinstance(start_token, int) and 0 <= start_token < tokenizer.vocab_size):
        raise _damaged(folder / META_FILE, "start_token is not a token")
    if not isinstance(lines, bool):
        raise _damaged(folder / META_FILE, "policies.lines is neither true nor false")
    if "train" not in splits:
        raise _damaged(folder / META_FILE, "there is no training split")
    if not _are_sources(meta.get("sources")):
        raise _damaged(folder / META_FILE, "sources are missing or of the wrong kind")
    return Dataset(folder, tokenizer, splits, meta)


def _are_sources(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(source, dict) and {name: type(item) for name, item in source.items()} == SOURCE
        for source in value
    )


def find_dataset_of(wanted: str, data_dir: Path) -> Dataset:
    """Open the dataset in `data_dir` with this fingerprint. Raises DataError if there is none."""
    for path in sorted(data_dir.glob(f"*/{META_FILE}")):
        with contextlib.suppress(DataError, StorageError, KeyError, TypeError):
            if fingerprint(read_meta(path.parent)) == wanted:
                return open_dataset(path.parent)
    raise DataError(
        f"the dataset that this model was trained on is not in {data_dir}",
        "prepare it again, give --data-dir, or name a file",
    )


def read_meta(folder: Path) -> dict[str, Any]:
    """Read the manifest of a dataset folder. Raises StorageError or DataError."""
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
    """Return one hash of the hashes of the tokenizer and of every split in a manifest."""
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
