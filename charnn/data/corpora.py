"""Named corpora: read their YAML cards; read or download their texts.

The size and SHA-256 of a download are checked before it is cached, and each time it is read from
the cache. Archives are read in memory and never unpacked to disk.
"""

import contextlib
import functools
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from charnn.data.download import download, safe_url
from charnn.errors import DataError, StorageError
from charnn.storage import atomic
from charnn.tokenizers.utf8 import CONTINUATION

DEFAULT_CORPUS = "lamplighter"
CACHE_VARIABLE = "CHARNN_CACHE_DIR"
MAX_MEMBER = 1 << 30  # bytes of one text inside an archive

Split = Literal["train", "val", "test"]
Progress = Callable[[int, int], None]  # bytes read, total bytes

FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]  # without folders
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, AfterValidator(safe_url)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Download(_Closed):
    """A remote file: a plain text, or a zip archive with a text per split in `members`.

    A file without a SHA-256 is listed but never downloaded.
    """

    urls: tuple[Url, ...] = Field(min_length=1)  # mirrors, tried in this order
    bytes: int | None = Field(None, gt=0)
    sha256: Sha256 | None = None
    split: Split = "train"
    members: dict[Split, str] = {}

    @model_validator(mode="after")
    def _hash_comes_with_size(self) -> Self:
        if (self.bytes is None) != (self.sha256 is None):
            raise ValueError("give both bytes and sha256, or neither")
        return self


class Card(_Closed):
    """The description of a corpus. If `lines` is set, each line is a record.

    A corpus of one text is split by the user's fractions; if `val_bytes` or `test_bytes` is set,
    the validation and test splits are that many bytes at its end.
    """

    name: FileName
    title: str
    description: str
    language: str
    license: str
    homepage: str = ""
    lines: bool = False
    file: FileName | None = None
    downloads: tuple[Download, ...] = ()
    val_bytes: int = Field(0, ge=0)
    test_bytes: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        splits = [split for item in self.downloads for split in item.members or (item.split,)]
        if (self.file is None) != ("train" in splits):
            raise ValueError("give either a file, or downloads with a train text")
        if len(splits) != len(set(splits)):
            raise ValueError("a split has two texts")
        return self


def corpora_folder() -> Path:
    """Return the folder of the cards: inside the package in a wheel, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "corpora"
    return inside if inside.is_dir() else package.parent / "corpora"


def cache_folder() -> Path:
    """Return the folder for downloads: $CHARNN_CACHE_DIR, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs

    return platformdirs.user_cache_path("charnn", appauthor=False)


@dataclass(frozen=True)
class Catalogue:
    """The cards in a folder, and access to their texts."""

    folder: Path = field(default_factory=corpora_folder)
    cache: Path = field(default_factory=cache_folder)

    @functools.cached_property
    def cards(self) -> Mapping[str, Card]:
        """All cards by name, sorted. Raise StorageError or DataError, which names the file."""
        cards = [_read_card(path) for path in sorted(self.folder.glob("*.yaml"))]
        return {card.name: card for card in cards}

    def size(self, name: str) -> int | None:
        """Return the bytes of the text or of its downloads; None if a size is unknown."""
        card = self.cards[name]
        if card.file is not None:
            with atomic.storage_errors("read", self.folder / card.file):
                return (self.folder / card.file).stat().st_size
        total = 0
        for item in card.downloads:
            if item.bytes is None:
                return None
            total += item.bytes
        return total

    def is_local(self, name: str) -> bool:
        """Return whether the text is on this machine, so that `fetch` needs no network."""
        card = self.cards[name]
        paths = [(self._cached(card, item), item.bytes) for item in card.downloads]
        return all(path.is_file() and path.stat().st_size == size for path, size in paths)

    def fetch(self, name: str, progress: Progress | None = None) -> dict[Split, bytes]:
        """Return the texts of a corpus by split. "train" always exists, "val" and "test" may not.

        `progress` is called only during a download. Raise StorageError if a text cannot be read or
        downloaded, DataError if a card or an archive is invalid.
        """
        card = self.cards[name]
        if card.file is not None:
            return {"train": atomic.read_bytes(self.folder / card.file)}
        texts: dict[Split, bytes] = {}
        total = self.size(name) or 0
        done = 0
        for item in card.downloads:
            report = functools.partial(_report, progress, done, total)
            data = self._read(card, item, report)
            texts |= _texts(data, item)
            done += len(data)
        return _cut_tail(texts, card) if card.val_bytes or card.test_bytes else texts

    def _cached(self, card: Card, item: Download) -> Path:
        return self.cache / card.name / PurePosixPath(urlsplit(item.urls[0]).path).name

    def _read(self, card: Card, item: Download, report: Callable[[int], None]) -> bytes:
        """Return a file from the cache if its SHA-256 matches, else from the network."""
        path = self._cached(card, item)
        if item.sha256 is None or item.bytes is None:
            raise _unpinned(card, item, path.name)
        kept = _kept(path, item)
        if kept is not None:
            return kept
        try:
            data = download(item.urls, item.bytes, item.sha256, report)
        except StorageError as error:
            hint = f"{error.hint}, or save the file as {path}"
            raise StorageError(f"{card.name}: {error.message}", hint) from None
        _save(path, data)
        return data


def _kept(path: Path, item: Download) -> bytes | None:
    with contextlib.suppress(OSError):
        if path.stat().st_size == item.bytes:
            data = path.read_bytes()
            if atomic.sha256(data) == item.sha256:
                return data
    return None


def _report(progress: Progress | None, before: int, total: int, done: int) -> None:
    if progress is not None:
        progress(before + done, total)


def _read_card(path: Path) -> Card:
    try:
        card = Card.model_validate(yaml.safe_load(atomic.read_bytes(path)))
    except (yaml.YAMLError, ValidationError) as error:
        raise DataError(f"{path} is not a corpus card: {error}") from None
    if card.name != path.stem:
        raise DataError(f"{path} has the name {card.name!r}", f"set its name to {path.stem!r}")
    return card


def _texts(data: bytes, item: Download) -> dict[Split, bytes]:
    if not item.members:
        return {item.split: data}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {split: _member(archive, name) for split, name in item.members.items()}
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise DataError(f"{item.urls[0]} is not the expected archive: {error}") from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > MAX_MEMBER:
        raise DataError(f"{name} unpacks to {size:,} bytes, more than {MAX_MEMBER:,}")
    with archive.open(name) as file:
        return file.read(size)  # at most `size`, even if the compressed data is longer


def _cut_tail(texts: Mapping[Split, bytes], card: Card) -> dict[Split, bytes]:
    """Split the last `val_bytes` + `test_bytes` bytes off the text.

    A cut inside a UTF-8 character is moved to the end of the character.
    """
    text = texts["train"]
    test_start = _character_start(text, len(text) - card.test_bytes)
    val_start = _character_start(text, len(text) - card.test_bytes - card.val_bytes)
    parts: dict[Split, bytes] = {
        "train": text[:val_start],
        "val": text[val_start:test_start],
        "test": text[test_start:],
    }
    return {split: part for split, part in parts.items() if part}


def _character_start(text: bytes, position: int) -> int:
    position = max(position, 0)
    while position < len(text) and text[position] in CONTINUATION:
        position += 1
    return position


def _unpinned(card: Card, item: Download, file: str) -> StorageError:
    lines = " --lines" if card.lines else ""
    return StorageError(
        f"cannot download {card.name}: its SHA-256 is unknown, so it cannot be checked",
        f"download it yourself: curl -LO {item.urls[0]}; charnn prepare {file}{lines}",
    )


def _save(path: Path, data: bytes) -> None:
    try:
        with atomic.storage_errors("create", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_file(path, data)
    except StorageError as error:
        hint = f"set {CACHE_VARIABLE} to a writable folder with free space"
        raise StorageError(error.message, hint) from error
