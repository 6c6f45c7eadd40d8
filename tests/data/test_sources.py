"""Sources: files, folders, globs, gzip, standard input, named corpora, errors."""

import gzip
import hashlib
import io
import os
import tarfile
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from charnn.data import sources
from charnn.data.corpora import Catalogue
from charnn.data.sources import read_sources, reads_terminal
from charnn.errors import DataError, StorageError

Read = Callable[..., sources.Reading]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """`read_sources` in an empty folder, with a catalogue of three corpora."""
    cards = tmp_path / "cards"
    work = tmp_path / "work"
    cards.mkdir()
    work.mkdir()
    for name in ("lamplighter", "shakespeare", "places"):
        card = f"name: {name}\ntitle: T\ndescription: D\nlanguage: en\nlicense: CC0-1.0\n"
        (cards / f"{name}.yaml").write_text(f"{card}file: {name}.txt\n")
        (cards / f"{name}.txt").write_text(f"the text of {name}\n")
    monkeypatch.chdir(work)
    catalogue = Catalogue(cards, tmp_path / "cache")

    def read(
        *arguments: str, stdin: BinaryIO | None = None, skip: Sequence[Path] = ()
    ) -> sources.Reading:
        return read_sources(arguments, catalogue=catalogue, stdin=stdin, skip=skip)

    return read


def write(path: str, data: bytes | str = "text") -> None:
    """Write a file and create its folders."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data.encode() if isinstance(data, str) else data)


def names(reading: sources.Reading) -> list[str]:
    """Return the names of the sources in order."""
    return [source.name for source in reading.sources]


def test_file_is_read_unchanged(read: Read) -> None:
    """All bytes, the base name, and the SHA-256."""
    data = bytes(range(256)) + b"\r\n\xef\xbb\xbf"
    write("sub/notes.txt", data)
    (only,) = read("sub/notes.txt").sources
    assert (only.name, only.data, only.split) == ("notes.txt", data, "train")
    assert only.sha256 == hashlib.sha256(data).hexdigest()


def test_sources_are_sorted_by_path(read: Read) -> None:
    """The order of the arguments does not matter."""
    for name in ("b.txt", "a.txt", "c/a.txt", "B.txt"):
        write(name, name)
    write("c/b/z.txt", "deep")
    forward = read("b.txt", "a.txt", "c", "B.txt")
    assert forward == read("B.txt", "c", "a.txt", "b.txt")
    assert names(forward) == ["B.txt", "a.txt", "b.txt", "a.txt", "b/z.txt"]


def test_duplicate_sources_are_read_once(read: Read) -> None:
    """The same file by name, glob, folder, link and absolute path is one source."""
    write("a.txt")
    Path("link.txt").symlink_to("a.txt")
    reading = read("a.txt", "./a.txt", "*.txt", str(Path("a.txt").absolute()), ".")
    assert len(reading.sources) == 1


def test_names_are_relative(read: Read) -> None:
    """Absolute paths and folders above the argument are not recorded."""
    write("poems/one/a.txt")
    assert names(read(str(Path("poems").absolute()))) == ["one/a.txt"]
    assert names(read(str(Path("poems/one/a.txt").absolute()))) == ["a.txt"]


def test_folder_is_read_recursively(read: Read) -> None:
    """Hidden files, binary files, pipes and linked folders are skipped."""
    write("corpus/readme", "any suffix")
    write("corpus/code/main.c", "int main;")
    write("corpus/utf16.txt", "wide".encode("utf-16"))
    write("corpus/.hidden.txt")
    write("corpus/.git/config")
    write("corpus/picture.png", b"\x89PNG\r\n\x1a\n\0\0\0")
    write("elsewhere/far.txt")
    os.mkfifo("corpus/pipe")
    Path("corpus/loop").symlink_to("..")
    reading = read("corpus")
    assert names(reading) == ["code/main.c", "readme", "utf16.txt"]
    assert reading.skipped() == "; skipped 1 file: 1 binary (picture.png)"


def test_note_on_binary_files_is_short(read: Read) -> None:
    """Three names and the number of the others."""
    write("mixed/a.txt")
    for number in range(9):
        write(f"mixed/{number}.bin", b"\0")
    assert read("mixed").summary() == (
        "read 1 file, 4 B; skipped 9 files: 9 binary (0.bin, 1.bin, 2.bin and 6 more)"
    )


def test_what_charnn_wrote_is_skipped(read: Read) -> None:
    """Datasets and runs by their files, wherever they are, and the folders of both."""
    write("a.txt")
    for name in ("meta.json", "tokenizer.json", "train.bin"):
        write(f"demo/data/one/{name}")
    for name in ("config.yaml", "metrics.jsonl", "checkpoints/step-00000001/header.json"):
        write(f"demo/runs/one/{name}")
    write("data/stray.json")
    write("own/config.yaml")
    reading = read(".", skip=[Path("data")])
    assert names(reading) == ["a.txt", "own/config.yaml"]
    assert reading.skipped() == "; skipped 7 files: 7 written by charnn"
    assert names(read("**/*")) == ["a.txt", "stray.json", "config.yaml"]


def test_a_folder_of_datasets_is_read_if_it_is_named(read: Read) -> None:
    """Texts may be in data/; its datasets are skipped. A folder of datasets alone is bad data."""
    for name in ("meta.json", "tokenizer.json"):
        write(f"data/one/{name}")
    with pytest.raises(DataError, match=r"^data: only files written by charnn"):
        read("data", skip=[Path("data")])
    write("data/book.txt")
    reading = read("data", "data/book.txt", skip=[Path("data")])
    assert (names(reading), reading.own) == (["book.txt"], 2)


def test_an_empty_file_is_named(read: Read) -> None:
    """It adds nothing to the text."""
    write("a.txt")
    write("b.txt", "")
    assert read("a.txt", "b.txt").notes == ("empty: b.txt",)


@pytest.mark.parametrize("name", ["empty", "binary"])
def test_folder_without_text_is_a_data_error(read: Read, name: str) -> None:
    """The message names the folder."""
    Path("empty").mkdir()
    write("binary/a.bin", b"\0")
    with pytest.raises(DataError, match=f"^{name} contains no text files"):
        read(name)


def test_globs(read: Read) -> None:
    """`*`, `?`, `[…]` and `**` match files; a file with the literal name takes precedence."""
    for name in ("a1.txt", "a2.txt", "deep/er/a3.txt", "b[1].txt"):
        write(name, name)
    assert names(read("a?.txt")) == ["a1.txt", "a2.txt"]
    assert names(read("**/a[23].txt")) == ["a2.txt", "a3.txt"]
    assert names(read("b[1].txt")) == ["b[1].txt"]
    assert names(read("*")) == ["a1.txt", "a2.txt", "b[1].txt"]
    with pytest.raises(StorageError, match=r"corpus '\*\.md'"):
        read("*.md")


def test_gzip_is_detected_by_signature(read: Read) -> None:
    """The file name is irrelevant; concatenated members (`cat a.gz b.gz`) are read completely."""
    packed = gzip.compress(b"one ") + gzip.compress(b"two")
    write("plain.txt", "one two")
    write("packed.txt.gz", packed)
    write("misnamed.txt", packed)
    write("folder/part.gz", packed)
    reading = read("plain.txt", "packed.txt.gz", "misnamed.txt", "folder")
    assert {source.data for source in reading.sources} == {b"one two"}
    assert len({source.sha256 for source in reading.sources}) == 1


def test_archive_in_a_folder_is_skipped(read: Read) -> None:
    """A .tar.gz unpacks to data with NUL bytes."""
    write("folder/a.txt")
    with tarfile.open("folder/more.tar.gz", "w:gz") as archive:
        archive.add("folder/a.txt")
    assert names(read("folder")) == ["a.txt"]


def test_truncated_gzip_is_a_data_error(read: Read) -> None:
    """At every length."""
    packed = gzip.compress(b"Had I the heavens' embroidered cloths")
    for length in range(1, len(packed)):  # an empty file is a valid one
        write("cut.gz", packed[:length])
        with pytest.raises(DataError, match=r"^cut\.gz is not a valid gzip file") as caught:
            read("cut.gz")
        assert caught.value.exit_code == 65


def test_damaged_gzip_is_a_data_error(read: Read) -> None:
    """Flipped bits are detected, except those in the header that do not affect the text."""
    text = b"Had I the heavens' embroidered cloths"
    packed = gzip.compress(text)
    refused = 0
    for position in range(2, len(packed)):
        damaged = bytearray(packed)
        damaged[position] ^= 0x10
        write("damaged.gz", bytes(damaged))
        try:
            assert read("damaged.gz").sources[0].data == text
        except DataError:
            refused += 1
    assert refused >= len(packed) - 12


def test_damaged_gzip_in_a_folder_is_a_data_error(read: Read) -> None:
    """It is not skipped as a binary file."""
    write("folder/a.txt")
    write("folder/b.gz", b"\x1f\x8b\xff" + bytes(50))
    with pytest.raises(DataError, match=r"^b\.gz is not a valid gzip file"):
        read("folder")


def test_gz_suffix_requires_gzip(read: Read) -> None:
    """A .gz file in another format is an error."""
    write("text.gz", "plain")
    with pytest.raises(DataError, match=r"^text\.gz is not a valid gzip file"):
        read("text.gz")


def test_gzip_bomb_is_refused(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacking stops at the limit, with little memory."""
    write("bomb.gz", gzip.compress(b"0" * 100_000_000, compresslevel=1))
    monkeypatch.setattr(sources, "MAX_UNPACKED", 2_000_000)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"^bomb\.gz unpacks to more than 2,000,000 bytes"):
        read("bomb.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_gzip_of_exactly_the_limit_is_read(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is inclusive."""
    write("large.gz", gzip.compress(b"0" * 1000))
    monkeypatch.setattr(sources, "MAX_UNPACKED", 1000)
    assert len(read("large.gz").sources[0].data) == 1000


def test_standard_input(read: Read) -> None:
    """`-` is read once, packed or not, and can be combined with files."""
    write("a.txt", "file")
    reading = read("a.txt", "-", "-", stdin=io.BytesIO(gzip.compress(b"piped")))
    assert [(source.name, source.data) for source in reading.sources] == [
        ("-", b"piped"),
        ("a.txt", b"file"),
    ]


def test_closed_standard_input_is_a_storage_error(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`charnn prepare - <&-` has a one-line error message."""
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(StorageError, match="standard input: it is closed"):
        read("-")
    assert not reads_terminal(["-"])


def test_reads_terminal() -> None:
    """True only if `-` is given and standard input is a terminal."""
    leader, follower = os.openpty()
    with os.fdopen(follower, "rb", buffering=0) as terminal:
        assert reads_terminal(["a.txt", "-"], terminal)
        assert not reads_terminal(["a.txt"], terminal)
    os.close(leader)
    assert not reads_terminal(["-"], io.BytesIO(b"piped"))


def test_named_pipe_is_read(read: Read) -> None:
    """A FIFO is read in one pass, as `charnn prepare <(command)` requires."""
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=[b"through a pipe"])
    writer.start()
    reading = read("pipe")
    writer.join()
    assert reading.sources[0].data == b"through a pipe"


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("nots.txt", "did you mean notes.txt?"),
        ("NOTES.TXT", "did you mean notes.txt?"),
        ("sub/poem.txt", "did you mean sub/poems.txt?"),
        ("shakespear", "did you mean shakespeare?"),
        ("place", "did you mean places?"),
        ("notes.txt/x", "list the corpora with charnn corpora"),
        ("nowhere/at/all", "list the corpora with charnn corpora"),
        ("", "list the corpora with charnn corpora"),
    ],
)
def test_missing_path_suggests_a_similar_name(read: Read, argument: str, hint: str) -> None:
    """The hint has the most similar name in the folder or the catalogue."""
    write("notes.txt")
    write("sub/poems.txt")
    with pytest.raises(StorageError) as caught:
        read(argument)
    assert caught.value.message == f"no file, folder or corpus {argument!r}"
    assert caught.value.hint == hint
    assert caught.value.exit_code == 74


def test_dangling_link_is_a_storage_error(read: Read) -> None:
    """As an argument."""
    Path("link.txt").symlink_to("nowhere")
    with pytest.raises(StorageError, match=r"cannot read link\.txt: No such file"):
        read("link.txt")


def test_dangling_links_in_a_folder_are_skipped_and_counted(read: Read) -> None:
    """As binary files are; a folder of nothing else has no text."""
    Path("folder").mkdir()
    for link in ("folder/link.txt", "folder/loop"):
        Path(link).symlink_to(Path(link).name if link.endswith("loop") else "nowhere")
    with pytest.raises(DataError, match="contains no text files"):
        read("folder")
    write("folder/a.txt")
    reading = read("folder")

    assert names(reading) == ["a.txt"]
    assert reading.skipped() == "; skipped 2 files: 2 dangling links (link.txt, loop)"


@pytest.mark.parametrize("argument", ["secret.txt", "folder"])
def test_unreadable_file_is_a_storage_error(
    read: Read, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an argument or in a folder; the message names the file."""
    write("secret.txt")
    write("folder/secret.txt")

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StorageError, match=r"secret\.txt: Permission denied"):
        read(argument)


def test_unreadable_folder_is_a_storage_error(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not skipped."""
    write("folder/a.txt")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(StorageError, match="cannot read folder: Permission denied"):
        read("folder")


def test_path_takes_precedence_over_a_corpus(read: Read) -> None:
    """A corpus is used only if no file or folder has its name."""
    assert read("places").sources[0].data == b"the text of places\n"
    write("places", "my own places")
    assert read("places").sources[0].data == b"my own places"


def test_default_corpus(read: Read) -> None:
    """Without arguments, files in the working folder are ignored."""
    write("lamplighter", "something else")
    assert read().sources[0].data == b"the text of lamplighter\n"


def test_corpus_splits_are_kept(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sources are added to its train split."""
    texts = {"train": b"t", "val": b"v", "test": b"e"}
    monkeypatch.setattr(Catalogue, "fetch", lambda *_: texts)
    write("extra.txt", "more")
    reading = read("shakespeare", "extra.txt")
    assert [source.data for source in reading.of("train")] == [b"more", b"t"]
    assert [source.data for source in reading.of("val")] == [b"v"]
    assert [source.data for source in reading.of("test")] == [b"e"]


def test_with_split_replaces_the_sources_of_a_split(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The given sources all belong to that split."""
    monkeypatch.setattr(Catalogue, "fetch", lambda *_: {"train": b"t", "val": b"v"})
    reading = read("shakespeare")
    changed = reading.with_split("val", reading.sources)

    assert [(source.data, source.split) for source in changed.sources] == [
        (b"t", "train"), (b"t", "val"), (b"v", "val"),
    ]  # fmt: skip
    assert changed.records == reading.records


def test_records_only_if_all_sources_are_record_corpora(tmp_path: Path) -> None:
    """A file in addition to a corpus of records unsets `records`."""
    (tmp_path / "a.txt").write_text("text")
    file = str(tmp_path / "a.txt")

    assert read_sources(["places"]).records
    assert not read_sources(["places", file]).records
    assert not read_sources([file]).records
    assert not read_sources([]).records


def test_file_name_that_is_not_utf8(read: Read) -> None:
    """The file is read; its recorded name is valid Unicode."""
    try:
        Path(os.fsdecode(b"caf\xe9.txt")).write_text("text")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert names(read(".")) == ["caf\ufffd.txt"]


@pytest.mark.parametrize("argument", ["x" * 300, "a\nb", "[", "**", "-x", "~", "a/" * 3000, "a*/"])
def test_unusual_arguments_are_storage_errors(read: Read, argument: str) -> None:
    """Long, empty and special names end in an error message, without a traceback."""
    with pytest.raises(StorageError):
        read(argument)
