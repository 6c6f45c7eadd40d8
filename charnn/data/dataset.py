"""A prepared dataset on disk: token ids of each split, tokenizer and manifest."""

import codecs
import contextlib
import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.config import PrepareConfig, flag, validate
from charnn.data.corpora import Catalogue
from charnn.data.splits import SPLITS
from charnn.errors import CharnnError, DataError, StorageError, UsageError
from charnn.storage import atomic, jsonio
from charnn.storage.workspace import DATA_DIR, META_FILE, TOKENIZER_FILE
from charnn.tokenizers.tokenizer import Tokenizer
from charnn.tokenizers.tokenizer_json import dump_tokenizer, load_tokenizer
from charnn.tokenizers.unknown_model import UnknownCost, UnknownModel, cost_of

FORMAT_VERSION = 1
FILES = {META_FILE, TOKENIZER_FILE, *(f"{name}.bin" for name in SPLITS)}  # of a dataset folder
SOURCE = {"name": str, "split": str, "bytes": int, "sha256": str}  # manifest entry of a source
ITEM_SIZES = {kind.__name__: kind().itemsize for kind in (np.uint8, np.uint16, np.uint32)}
MOST_SOURCES = 3  # sources that a command in a hint names
DECODED = 1 << 14  # tokens decoded per call, which takes about 100 bytes per token
COUNTED = 1 << 20  # tokens per bincount call, which converts them to 64 bits
COUNTS = ("tokens", "chars", "bytes", "unknown")  # manifest entry of a split
DECIMALS = 6  # of the nats in the manifest; rounding makes it equal on all machines


@dataclass(frozen=True)
class EncodedSplit:
    """Token ids of a split, the size of its text, and its out-of-vocabulary symbols."""

    ids: Ids
    chars: int
    bytes: int
    unknown: Counter[str]


@dataclass(frozen=True)
class Dataset:
    """The token ids of every split, the tokenizer, and the manifest."""

    folder: Path
    tokenizer: Tokenizer
    splits: Mapping[str, Ids]
    meta: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return the name of the folder."""
        return self.folder.resolve().name

    @property
    def start_token(self) -> int:
        """Return the id that precedes the first token of a text."""
        return int(self.meta["start_token"])

    @property
    def records(self) -> bool:
        """Return whether each line is a separate text, which ends with `start_token`.

        A dataset of an earlier version can lack the newline in its vocabulary; it is one text.
        """
        return bool(self.meta["policies"]["lines"]) and self.tokenizer.newline_id is not None

    @property
    def fingerprint(self) -> str:
        """Return a hash of the tokenizer and of every split."""
        return fingerprint(self.meta)

    def split(self, name: str) -> Ids:
        """Return the ids of a split, (N,). Raise UsageError if the dataset does not have it."""
        if name not in self.splits:
            have = ", ".join(self.splits)
            raise UsageError(
                f"dataset {self.name} has no {name} split; it has {have}",
                f"prepare it again with a split: charnn prepare … --{name}-frac 0.1 "
                f"(or --{name} FILE)",
            )
        return self.splits[name]

    def texts(self, name: str) -> Iterator[str]:
        """Yield the text of a split in parts of DECODED tokens.

        U+FFFD represents `<unk>` and bytes that are not UTF-8.
        """
        ids = self.split(name)
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        for start in range(0, len(ids), DECODED):
            yield decode(self.tokenizer.decode(ids[start : start + DECODED].tolist()))
        yield decode(b"", final=True)

    def text(self, name: str) -> str:
        """Return the text of a split; see `texts`."""
        return "".join(self.texts(name))

    @cached_property
    def unknown_model(self) -> UnknownModel | None:
        """Return the model of out-of-vocabulary symbols.

        None if the tokenizer has no `<unk>` or the dataset was prepared before there was one.
        """
        value = self.meta.get("unknown")
        return None if value is None else UnknownModel.from_json(value, self.tokenizer)

    def unknown_cost(self, name: str) -> UnknownCost:
        """Return the cost of the out-of-vocabulary tokens of a split."""
        described, model = self.meta["splits"][name], self.unknown_model
        count, nats = described["unknown"] or math.nan, described.get("unknown_nats", math.nan)
        known = math.nan if model is None else model.known_nats
        return UnknownCost(self._unknown_chars(name) / count, nats / count, known)

    def has_text_of(self, other: "Dataset", name: str) -> bool:
        """Return whether a split of both has the same text, also in different tokens.

        Compares the hashes of the sources, and the size of the split.
        """

        def text(meta: Mapping[str, Any]) -> tuple[Any, ...]:
            described, sources = meta["splits"].get(name, {}), meta["sources"]
            hashes = sorted((source["split"], source["sha256"]) for source in sources)
            return hashes, described.get("chars"), described.get("bytes")

        return text(self.meta) == text(other.meta)

    def chars_per_token(self, name: str) -> float:
        """Return the mean number of characters per token of a split, without `<unk>`."""
        described = self.meta["splits"][name]
        tokens = described["tokens"] - described["unknown"]
        return float((described["chars"] - self._unknown_chars(name)) / max(1, tokens))

    def _unknown_chars(self, name: str) -> int:
        """Return the number of characters of the out-of-vocabulary symbols of a split."""
        described = self.meta["splits"][name]
        if not described["unknown"]:
            return 0
        counts = symbol_counts(self.split(name), self.tokenizer)
        return int(described["chars"] - counts @ self.tokenizer.char_lengths)


def new_dataset(
    folder: Path,
    tokenizer: Tokenizer,
    splits: Mapping[str, EncodedSplit],
    config: PrepareConfig,
    sources: Sequence[Mapping[str, Any]] = (),
    records: Mapping[str, int] | None = None,
    *,
    own_vocabulary: bool = True,
) -> Dataset:
    """Return a dataset without writing it. The same arguments give the same manifest.

    `records` are counts of records for the manifest. `own_vocabulary` is set if the vocabulary was
    built from the training split.
    """
    ids = {name: split.ids for name, split in splits.items()}
    unknown_model = UnknownModel.fit(
        tokenizer,
        symbol_counts(ids["train"], tokenizer),
        splits["train"].unknown,
        config.min_count if own_vocabulary else None,
    )
    meta = {
        "format_version": FORMAT_VERSION,
        "dtype": tokenizer.dtype.name,
        "tokenizer": {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "sha256": atomic.sha256(dump_tokenizer(tokenizer).encode()),
        },
        "start_token": _start_token(ids["train"], tokenizer),
        "splits": {name: _described(split, unknown_model) for name, split in splits.items()},
        "unknown": None if unknown_model is None else unknown_model.to_json(),
        "sources": list(sources),
        "policies": config.model_dump(mode="json"),
    }
    if records is not None:
        meta["records"] = dict(records)
    return Dataset(folder, tokenizer, ids, meta)


def _described(split: EncodedSplit, unknown_model: UnknownModel | None) -> dict[str, Any]:
    unknown = split.unknown.total()
    cost = cost_of(split.unknown, unknown_model).nats if unknown else 0.0
    return {
        "tokens": len(split.ids),
        "chars": split.chars,
        "bytes": split.bytes,
        "sha256": atomic.sha256(split.ids.data.cast("B")),
        "unknown": unknown,
        "unknown_nats": round(unknown * cost, DECIMALS),
    }


def _start_token(train: Ids, tokenizer: Tokenizer) -> int:
    """Return the id of the newline if it is in the vocabulary, else of the most frequent token."""
    if tokenizer.newline_id is not None:
        return tokenizer.newline_id
    counts = symbol_counts(train, tokenizer)
    if tokenizer.unk_id is not None:
        counts[tokenizer.unk_id] = -1
    return int(counts.argmax())


def symbol_counts(ids: Ids, tokenizer: Tokenizer) -> Integers:
    """Return the number of occurrences of each token, (V,); 0 for `<unk>`."""
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
    """Return whether the folder of a dataset already holds the same files, undamaged."""
    path = dataset.folder / META_FILE
    if not path.is_file() or path.read_bytes() != _manifest(dataset):
        return False
    try:
        open_dataset(dataset.folder)
    except (DataError, StorageError):
        return False
    return True


def write_dataset(dataset: Dataset, *, replace: bool = False) -> None:
    """Write a dataset to its folder, atomically.

    Raise UsageError if the folder holds a dataset and `replace` is not set, StorageError if it
    cannot be written or holds files that do not belong to a dataset.
    """
    folder = dataset.folder
    _refuse_foreign(folder)
    if folder.exists() and not replace:
        raise UsageError(
            f"{folder} already exists with different content",
            "give another --name, or replace it with --force",
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
    """Raise StorageError if `folder` holds files that do not belong to a dataset, or is a file."""
    hint = "give another --name"
    if folder.is_dir():
        atomic.refuse_foreign(folder, FILES, hint)
    elif folder.exists():
        raise StorageError(f"{folder} is a file, not a dataset", hint)


def open_dataset(folder: Path) -> Dataset:
    """Read the dataset in a folder into memory and check its files against the manifest.

    Raise StorageError if it cannot be read, DataError if it is damaged.
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
        raise _damaged(folder / META_FILE, f"{error} is missing or has the wrong type") from None
    if not (isinstance(start_token, int) and 0 <= start_token < tokenizer.vocab_size):
        raise _damaged(folder / META_FILE, "start_token is not a token id")
    if not isinstance(lines, bool):
        raise _damaged(folder / META_FILE, "policies.lines is not true or false")
    if "train" not in splits:
        raise _damaged(folder / META_FILE, "it has no training split")
    if not _are_sources(meta.get("sources")):
        raise _damaged(folder / META_FILE, "sources are missing or have the wrong type")
    dataset = Dataset(folder, tokenizer, splits, meta)
    try:
        _ = dataset.unknown_model
    except DataError as error:
        raise _damaged(folder / META_FILE, error.message) from None
    return dataset


def _are_sources(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(source, dict) and {name: type(item) for name, item in source.items()} == SOURCE
        for source in value
    )


def find_dataset_of(wanted: str, data_dir: Path) -> Dataset:
    """Open the dataset in `data_dir` with this fingerprint. Raise DataError if there is none."""
    for path in sorted(data_dir.glob(f"*/{META_FILE}")):
        with contextlib.suppress(DataError, StorageError, KeyError, TypeError):
            if fingerprint(read_meta(path.parent)) == wanted:
                return open_dataset(path.parent)
    raise DataError(
        f"the dataset that this model was trained on is not in {data_dir}",
        "prepare it again, set --data-dir, or name a text file",
    )


def read_meta(folder: Path) -> dict[str, Any]:
    """Read the manifest of a dataset folder. Raise StorageError or DataError."""
    path = folder / META_FILE
    if not path.is_file():
        raise StorageError(
            f"{folder} is not a dataset: it has no {META_FILE}", "create it with charnn prepare"
        )
    meta = jsonio.parse_json_object(atomic.read_bytes(path), str(path))
    if meta.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {meta.get('format_version')!r}; "
            f"this version of charnn reads {FORMAT_VERSION}",
            f"prepare the same text again: {prepare_again(folder)}",
        )
    return meta


def fingerprint(meta: Mapping[str, Any]) -> str:
    """Return a hash of the hashes of the tokenizer and of every split in a manifest."""
    parts = [meta["tokenizer"]["sha256"]]
    parts += [
        f"{name}:{meta['splits'][name]['sha256']}" for name in SPLITS if name in meta["splits"]
    ]
    return atomic.sha256("\n".join(parts).encode())


def _read_split(path: Path, described: Mapping[str, Any], tokenizer: Tokenizer) -> Ids:
    for count in COUNTS:
        if type(described[count]) is not int or described[count] < 0:
            raise _damaged(path.with_name(META_FILE), f"{count} of {path.stem} is not a count")
    if type(described.get("unknown_nats", 0.0)) is not float:
        raise _damaged(path.with_name(META_FILE), f"unknown_nats of {path.stem} is not a number")
    data = atomic.read_bytes(path)
    _check_size(path, len(data), described["tokens"] * tokenizer.dtype.itemsize)
    _check_hash(path, data, described["sha256"])
    ids: Ids = np.frombuffer(data, tokenizer.dtype)
    if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
        raise _damaged(
            path, f"id {int(ids.max())} is not in the vocabulary of {tokenizer.vocab_size} tokens"
        )
    return ids


def check_files(folder: Path, meta: Mapping[str, Any]) -> None:
    """Check the tokenizer and the sizes of the splits against a manifest; read no split.

    Raise DataError if one differs, StorageError if a file cannot be read.
    """
    path = folder / TOKENIZER_FILE
    _check_hash(path, atomic.read_bytes(path), meta["tokenizer"]["sha256"])
    for name in SPLITS:
        if name in meta["splits"]:
            path = folder / f"{name}.bin"
            with atomic.storage_errors("read", path):
                size = path.stat().st_size
            _check_size(path, size, meta["splits"][name]["tokens"] * ITEM_SIZES[meta["dtype"]])


def _check_size(path: Path, size: int, expected: int) -> None:
    if size != expected:
        raise _damaged(path, f"it has {size:,} bytes; expected {expected:,}")


def _check_hash(path: Path, data: bytes, expected: str) -> None:
    if atomic.sha256(data) != expected:
        raise _damaged(path, "its SHA-256 differs from the manifest")


def _damaged(path: Path, why: str) -> DataError:
    again = f"prepare the same text again: {prepare_again(path.parent)}"
    return DataError(f"{path} is damaged: {why}", again)


def prepare_again(folder: Path) -> str:
    """Return the command that replaces a damaged dataset, with what its manifest records.

    Sources are named if they are in the working folder or corpora.
    """
    sources, options = ["SOURCE"], list[str]()
    with contextlib.suppress(CharnnError, ValueError, KeyError, TypeError, AttributeError):
        meta = jsonio.parse_json_object(atomic.read_bytes(folder / META_FILE), "manifest")
        by_split = {
            name: [s["name"] for s in meta["sources"] if s["split"] == name] for name in SPLITS
        }
        train = by_split.pop("train")
        known = Catalogue().cards
        if 0 < len(train) <= MOST_SOURCES and all(n in known or Path(n).is_file() for n in train):
            sources = train
        policies = validate(PrepareConfig, meta["policies"])
        for name, default in PrepareConfig().model_dump().items():
            value = getattr(policies, name)
            if value != default and not by_split.get(name.removesuffix("_frac")):
                options += [flag(name)] if value is True else [flag(name), str(value)]
        for split, names in by_split.items():
            if names and names[0] not in train:
                options += [f"--{split}", names[0]]
    if folder.parent != Path(DATA_DIR):
        options += ["--data-dir", str(folder.parent)]
    words = ["charnn", "prepare", *map(str, sources), "--name", folder.name, *options, "--force"]
    return shlex.join(words)
