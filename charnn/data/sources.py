"""Read text from files, folders, globs, gzip, standard input and named corpora."""

import codecs
import contextlib
import difflib
import glob
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
from charnn.data.gzip_stream import GZIP_FORMAT, GZIP_MAGIC, unpacked
from charnn.display import humanize
from charnn.errors import DataError, StorageError
from charnn.storage import atomic
from charnn.storage.workspace import is_dataset_or_run

MAX_UNPACKED = 1 << 30  # bytes of an unpacked gzip file
SNIFFED = 8192  # bytes read to decide whether a file in a folder is text
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass
class Source:
    """The bytes of a text, unpacked, their number and their origin.

    `name` is for messages and the manifest: a base name, a path relative to a given folder, the
    name of a corpus, or "-" for standard input and other streams. It is never an absolute path.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    split: Split = "train"

    def __post_init__(self) -> None:
        self.size = len(self.data)

    def release(self) -> None:
        """Free the memory of the bytes, which have been decoded."""
        self.data = b""


@dataclass(frozen=True)
class Reading:
    """The sources that were read, sorted, and notes for the user.

    `records` is set if all sources are named corpora with one record per line.
    `binary` are the names of files that were skipped because they are not text, `own` is the number
    of files that were skipped because charnn wrote them, `dangling` are the names of links in
    folders whose target is missing.
    """

    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()
    records: bool = False
    binary: tuple[str, ...] = ()
    own: int = 0
    dangling: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return how many files and bytes were read, and how many files were skipped and why."""
        size = humanize.size(sum(source.size for source in self.sources))
        return f"read {_files(len(self.sources))}, {size}{self.skipped()}"

    def skipped(self) -> str:
        """Return how many files were skipped and why; empty if none."""
        reasons = [f"{self.own:,} written by charnn"] if self.own else []
        if self.binary:
            reasons.append(f"{len(self.binary):,} binary ({_some(self.binary)})")
        if self.dangling:
            link = "link" if len(self.dangling) == 1 else "links"
            reasons.append(f"{len(self.dangling):,} dangling {link} ({_some(self.dangling)})")
        total = self.own + len(self.binary) + len(self.dangling)
        return f"; skipped {_files(total)}: {', '.join(reasons)}" if reasons else ""

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
    skip: Sequence[Path] = (),
) -> Reading:
    """Read all sources that the arguments name, without duplicates, sorted by path.

    An argument is a path, a glob of files, the name of a corpus, or "-"; a path takes precedence
    over a corpus of the same name. Without arguments, the default corpus is read. A folder is read
    recursively: every file without a NUL byte in its first 8 KB, except names that begin with a
    dot, links to folders, dangling links, datasets and runs of charnn, and the folders `skip`.
    Files with the gzip signature or the suffix .gz are unpacked. Raise StorageError if a source is
    missing or unreadable, DataError if it is damaged.
    """
    catalogue = catalogue or Catalogue()
    search = _Search(catalogue, [folder.resolve() for folder in skip])
    places = [] if arguments else [_Place(DEFAULT_CORPUS, DEFAULT_CORPUS, "corpus")]
    for argument in arguments:
        with atomic.storage_errors("read", Path(argument)):
            places += search.find(argument)
    if not places:
        raise DataError(f"{', '.join(arguments)}: only files written by charnn", "name a text file")
    once = {place.identity: place for place in sorted(places, reverse=True)}  # the first name stays
    sources = [
        source
        for place in sorted(once.values())
        for source in _read(place, catalogue, stdin, progress)
    ]
    records = all(p.kind == "corpus" and catalogue.cards[p.key].lines for p in once.values())
    empty = [source.name for source in sources if not source.data]
    notes = (f"empty: {_some(empty)}",) if empty and len(sources) > 1 else ()
    binary, dangling = tuple(sorted(search.binary)), tuple(sorted(search.dangling))
    return Reading(tuple(sources), notes, records, binary, search.own, dangling)


class _Search:
    """Finds the places that arguments name; counts the files that are skipped."""

    def __init__(self, catalogue: Catalogue, skip: Sequence[Path]) -> None:
        self.catalogue, self._skip = catalogue, skip
        self.binary: list[str] = []
        self.dangling: list[str] = []
        self.own = 0

    def find(self, argument: str) -> list[_Place]:
        """Return the places that one argument names. Raise DataError or StorageError if none."""
        if argument == STDIN:
            return [_Place(STDIN, STDIN, "stdin")]
        if _exists(argument):
            return self._find_path(argument)
        matches = [Path(match) for match in glob.glob(argument, recursive=True)]  # noqa: PTH207 - absolute ones too
        files = [path for path in matches if not path.is_dir()]
        kept = [path for path in files if not any(map(is_dataset_or_run, path.parents))]
        self.own += len(files) - len(kept)
        if files:
            return [_Place(str(path), path.name, "file") for path in kept]
        if argument in self.catalogue.cards:
            return [_Place(argument, argument, "corpus")]
        raise _missing(argument, self.catalogue)

    def _find_path(self, argument: str) -> list[_Place]:
        path = Path(argument)
        if not path.is_dir():
            return [_Place(str(path), STDIN if is_stream(argument) else path.name, "file")]
        own = self.own
        found: list[Path] = []
        for file in self._walk(path):
            if _looks_like_text(file):
                found.append(file)
            else:
                self.binary.append(file.name)
        if not found and self.own == own:
            raise DataError(
                f"{argument} contains no text files",
                "hidden and binary files and dangling links are skipped",
            )
        return [_Place(str(file), file.relative_to(path).as_posix(), "file") for file in found]

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Yield the files in a folder tree, except hidden ones, pipes and those of charnn."""
        if is_dataset_or_run(folder):
            self._count_own(folder)
            return
        for entry in folder.iterdir():
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not entry.is_symlink():  # links can form cycles
                if entry.resolve() in self._skip:
                    self._count_own(entry)
                else:
                    yield from self._walk(entry)
            elif entry.is_file():
                yield entry
            elif entry.is_symlink() and not entry.exists():
                self.dangling.append(entry.name)

    def _count_own(self, folder: Path) -> None:
        self.own += sum(path.is_file() for path in folder.rglob("*"))


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


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if names[3:] else ""
    return ", ".join(names[:3]) + more


def _looks_like_text(path: Path) -> bool:
    with atomic.storage_errors("read", path), path.open("rb") as file:
        head = file.read(SNIFFED)
    if head.startswith(GZIP_MAGIC):
        try:
            head = zlib.decompressobj(wbits=GZIP_FORMAT).decompress(head, SNIFFED)
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
        raise StorageError(
            "cannot read standard input: it is closed", "name a file, or pipe text into charnn"
        )
    with atomic.storage_errors("read", Path("standard input")):
        return stream.read()


def _standard_input() -> BinaryIO | None:
    return sys.stdin.buffer if sys.stdin else None  # closed in `charnn prepare - <&-`


def _gunzip(packed: bytes, name: str) -> bytes:
    data = io.BytesIO()
    for chunk in unpacked([packed], name):
        data.write(chunk)
        if data.tell() > MAX_UNPACKED:
            raise DataError(
                f"{name} unpacks to more than {MAX_UNPACKED:,} bytes",
                "if you trust the file, unpack it first: gzip -dk FILE",
            )
    return data.getvalue()
