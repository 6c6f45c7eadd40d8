"""Read text from files, folders, globs, gzip, standard input and named corpora."""

import codecs
import contextlib
import difflib
import glob
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal, Self

from charnn.config import STDIN
from charnn.data.corpora import DEFAULT_CORPUS, Catalogue, Progress, Split
from charnn.errors import DataError, StorageError
from charnn.storage import atomic

MAX_UNPACKED = 1 << 30  # bytes of an unpacked gzip file
UNPACKED = 1 << 20  # bytes unpacked per read
SNIFFED = 8192  # bytes read to decide whether a file in a folder is text
GZIP_MAGIC = b"\x1f\x8b"
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Source:
    """The bytes of a text, unpacked, and their origin.

    `name` is for messages and the manifest: a base name, a path relative to a given folder, the
    name of a corpus, or "-" for standard input and other streams. It is never an absolute path.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    split: Split = "train"


@dataclass(frozen=True)
class Reading:
    """The sources that were read, sorted, and notes for the user.

    `records` is set if all sources are named corpora with one record per line.
    """

    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()
    records: bool = False

    def of(self, split: str) -> tuple[Source, ...]:
        """Return the sources of a split. Only named corpora have splits other than "train"."""
        return tuple(source for source in self.sources if source.split == split)

    def with_split(self, split: Split, sources: Sequence[Source]) -> Self:
        """Return a copy with the sources of a split replaced."""
        others = (source for source in self.sources if source.split != split)
        own = (replace(source, split=split) for source in sources)
        return replace(self, sources=(*others, *own))


@dataclass(frozen=True, order=True)
class _Place:
    key: str  # the path as given, "-", or the name of a corpus; the sort key
    name: str
    kind: Literal["file", "stdin", "corpus"]

    @property
    def identity(self) -> tuple[str, str]:
        return self.kind, os.path.realpath(self.key) if self.kind == "file" else self.key


def reads_terminal(arguments: Sequence[str], stdin: BinaryIO | None = None) -> bool:
    """Return whether reading the arguments waits for input typed at a terminal."""
    stream = stdin or _standard_input()
    return STDIN in arguments and stream is not None and stream.isatty()


def read_sources(
    arguments: Sequence[str],
    *,
    catalogue: Catalogue | None = None,
    stdin: BinaryIO | None = None,
    progress: Progress | None = None,
) -> Reading:
    """Read all sources that the arguments name, without duplicates, sorted by path.

    An argument is a path, a glob of files, the name of a corpus, or "-"; a path takes precedence
    over a corpus of the same name. Without arguments, the default corpus is read. A folder is read
    recursively: every file without a NUL byte in its first 8 KB, except names that begin with a
    dot and links to folders. Files with the gzip signature or the suffix .gz are unpacked. Raise
    StorageError if a source is missing or unreadable, DataError if it is damaged.
    """
    catalogue = catalogue or Catalogue()
    notes: list[str] = []
    places = [] if arguments else [_Place(DEFAULT_CORPUS, DEFAULT_CORPUS, "corpus")]
    for argument in arguments:
        with atomic.storage_errors("read", Path(argument)):
            places += _find(argument, catalogue, notes)
    once = {place.identity: place for place in sorted(places, reverse=True)}  # keeps the first name
    sources = [
        source
        for place in sorted(once.values())
        for source in _read(place, catalogue, stdin, progress)
    ]
    records = all(p.kind == "corpus" and catalogue.cards[p.key].lines for p in once.values())
    return Reading(tuple(sources), tuple(notes), records)


def _find(argument: str, catalogue: Catalogue, notes: list[str]) -> list[_Place]:
    if argument == STDIN:
        return [_Place(STDIN, STDIN, "stdin")]
    if _exists(argument):
        return _find_path(argument, notes)
    matches = [Path(match) for match in glob.glob(argument, recursive=True)]  # noqa: PTH207 - absolute ones too
    places = [_Place(str(path), path.name, "file") for path in matches if not path.is_dir()]
    if places:
        return places
    if argument in catalogue.cards:
        return [_Place(argument, argument, "corpus")]
    raise _missing(argument, catalogue)


def _exists(argument: str) -> bool:
    try:
        os.lstat(argument)  # a dangling link exists here; reading it gives the error message
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_stream(argument: str) -> bool:
    """Return whether this is a device, or an unnamed pipe such as that of `<(command)`."""
    try:
        mode = Path(argument).stat().st_mode
    except (OSError, ValueError):
        return False
    is_nameless = os.path.realpath(argument).startswith(("/dev/", "/proc/"))
    return stat.S_ISCHR(mode) or (stat.S_ISFIFO(mode) and is_nameless)


def _missing(argument: str, catalogue: Catalogue) -> StorageError:
    path = Path(argument)
    neighbours: list[str] = []
    with contextlib.suppress(OSError):
        neighbours = os.listdir(path.parent)  # noqa: PTH208 - names, not paths
    near = [str(path.with_name(name)) for name in _near(path.name, neighbours)]
    near += _near(argument, catalogue.cards)
    hint = f"did you mean {' or '.join(near)}?" if near else "list the corpora with charnn corpora"
    return StorageError(f"no file, folder or corpus {argument!r}", hint)


def _near(name: str, candidates: Iterable[str]) -> list[str]:
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    return [by_lower[near] for near in difflib.get_close_matches(name.lower(), by_lower, n=1)]


def _find_path(argument: str, notes: list[str]) -> list[_Place]:
    path = Path(argument)
    if not path.is_dir():
        return [_Place(str(path), STDIN if is_stream(argument) else path.name, "file")]
    found: list[Path] = []
    skipped: list[str] = []
    for file in _walk(path):
        if _looks_like_text(file):
            found.append(file)
        else:
            skipped.append(file.name)
    if skipped:
        notes.append(f"{argument}: skipped binary files: {_some(sorted(skipped))}")
    if not found:
        raise DataError(
            f"{argument} contains no text files", "hidden files and binary files are skipped"
        )
    return [_Place(str(file), file.relative_to(path).as_posix(), "file") for file in found]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3:,} more" if names[3:] else ""
    return ", ".join(names[:3]) + more


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, except hidden files, pipes and sockets."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():  # links to folders can form a cycle
            yield from _walk(entry)
        elif entry.is_file() or not entry.exists():  # reading a dangling link raises the error
            yield entry


def _looks_like_text(path: Path) -> bool:
    with atomic.storage_errors("read", path), path.open("rb") as file:
        head = file.read(SNIFFED)
    if head.startswith(GZIP_MAGIC):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, SNIFFED)
        except zlib.error:
            return True  # reading it reports the damage
    return head.startswith(UTF16_MARKS) or b"\0" not in head


def _read(
    place: _Place, catalogue: Catalogue, stdin: BinaryIO | None, progress: Progress | None
) -> list[Source]:
    if place.kind == "corpus":
        texts = catalogue.fetch(place.key, progress)
        return [
            Source(place.name, text, atomic.sha256(text), split) for split, text in texts.items()
        ]
    data = read_stdin(stdin) if place.kind == "stdin" else atomic.read_bytes(Path(place.key))
    name = os.fsencode(place.name).decode("utf-8", "replace")  # file names may be invalid UTF-8
    if data.startswith(GZIP_MAGIC) or name.endswith(".gz"):
        data = _gunzip(data, name)
    return [Source(name, data, atomic.sha256(data))]


def read_stdin(stdin: BinaryIO | None = None) -> bytes:
    """Return all of standard input. Raise StorageError if it is closed or cannot be read."""
    stream = stdin or _standard_input()
    if stream is None:
        raise StorageError("standard input is closed", "give a file, or pipe text into charnn")
    with atomic.storage_errors("read", Path("standard input")):
        return stream.read()


def _standard_input() -> BinaryIO | None:
    return sys.stdin.buffer if sys.stdin else None  # closed in `charnn prepare - <&-`


def _gunzip(packed: bytes, name: str) -> bytes:
    unpacked = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            while chunk := file.read(UNPACKED):
                unpacked.write(chunk)
                if unpacked.tell() > MAX_UNPACKED:
                    raise DataError(
                        f"{name} unpacks to more than {MAX_UNPACKED:,} bytes",
                        "if the file is intended, unpack it first: gzip -dk",
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        cut = isinstance(error, EOFError)
        reason = "file is truncated" if cut else str(error)
        raise DataError(f"{name} is not a valid gzip file: {reason}", "copy it again") from None
    return unpacked.getvalue()
