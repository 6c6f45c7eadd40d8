"""Every way of naming text gives the same bytes, or an error that says where they are missing."""

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
    """`read_sources` in an empty folder, beside a catalogue of three corpora."""
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
    """A file with all its folders."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data.encode() if isinstance(data, str) else data)


def names(reading: sources.Reading) -> list[str]:
    """The names of what was read, in order."""
    return [source.name for source in reading.sources]


def test_a_file_is_read_exactly(read: Read) -> None:
    """All its bytes, its base name, and the hash of what was read."""
    data = bytes(range(256)) + b"\r\n\xef\xbb\xbf"
    write("sub/notes.txt", data)
    (only,) = read("sub/notes.txt").sources
    assert (only.name, only.data, only.split) == ("notes.txt", data, "train")
    assert only.sha256 == hashlib.sha256(data).hexdigest()


def test_the_order_of_arguments_does_not_matter(read: Read) -> None:
    """Sources come sorted by path, so that one set of files is one corpus."""
    for name in ("b.txt", "a.txt", "c/a.txt", "B.txt"):
        write(name, name)
    write("c/b/z.txt", "deep")
    forward = read("b.txt", "a.txt", "c", "B.txt")
    assert forward == read("B.txt", "c", "a.txt", "b.txt")
    assert names(forward) == ["B.txt", "a.txt", "b.txt", "a.txt", "b/z.txt"]


def test_nothing_is_read_twice(read: Read) -> None:
    """The same file by name, glob, folder, link and absolute path is one source."""
    write("a.txt")
    Path("link.txt").symlink_to("a.txt")
    reading = read("a.txt", "./a.txt", "*.txt", str(Path("a.txt").absolute()), ".")
    assert len(reading.sources) == 1


def test_names_say_nothing_of_the_machine(read: Read) -> None:
    """Absolute paths are read, but neither they nor folders above the argument are recorded."""
    write("poems/one/a.txt")
    assert names(read(str(Path("poems").absolute()))) == ["one/a.txt"]
    assert names(read(str(Path("poems/one/a.txt").absolute()))) == ["a.txt"]


def test_a_folder_stands_for_its_text_files(read: Read) -> None:
    """Recursively; hidden files, binaries, pipes and linked folders are left out."""
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


def test_many_binaries_make_one_short_note(read: Read) -> None:
    """Three are named, the others counted."""
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
    with pytest.raises(DataError, match=r"^data: only files that charnn wrote"):
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
def test_a_folder_without_text_is_bad_data(read: Read, name: str) -> None:
    """Exit 65, naming the folder."""
    Path("empty").mkdir()
    write("binary/a.bin", b"\0")
    with pytest.raises(DataError, match=f"^{name} contains no text files"):
        read(name)


def test_globs(read: Read) -> None:
    """`*`, `?`, `[…]` and `**` stand for files; what exists under the literal name comes first."""
    for name in ("a1.txt", "a2.txt", "deep/er/a3.txt", "b[1].txt"):
        write(name, name)
    assert names(read("a?.txt")) == ["a1.txt", "a2.txt"]
    assert names(read("**/a[23].txt")) == ["a2.txt", "a3.txt"]
    assert names(read("b[1].txt")) == ["b[1].txt"]
    assert names(read("*")) == ["a1.txt", "a2.txt", "b[1].txt"]
    with pytest.raises(StorageError, match=r"called \*\.md"):
        read("*.md")


def test_gzip_is_known_by_its_first_bytes(read: Read) -> None:
    """Whatever the name, from a folder, and in several parts, as `cat a.gz b.gz` gives them."""
    packed = gzip.compress(b"one ") + gzip.compress(b"two")
    write("plain.txt", "one two")
    write("packed.txt.gz", packed)
    write("misnamed.txt", packed)
    write("folder/part.gz", packed)
    reading = read("plain.txt", "packed.txt.gz", "misnamed.txt", "folder")
    assert {source.data for source in reading.sources} == {b"one two"}
    assert len({source.sha256 for source in reading.sources}) == 1


def test_an_archive_in_a_folder_is_not_text(read: Read) -> None:
    """A .tar.gz unpacks to something with NUL bytes, and is passed over."""
    write("folder/a.txt")
    with tarfile.open("folder/more.tar.gz", "w:gz") as archive:
        archive.add("folder/a.txt")
    assert names(read("folder")) == ["a.txt"]


def test_a_cut_gzip_is_bad_data(read: Read) -> None:
    """At whatever byte it ends."""
    packed = gzip.compress(b"Had I the heavens' embroidered cloths")
    for length in range(1, len(packed)):  # of nothing at all, nothing can be said to be missing
        write("cut.gz", packed[:length])
        with pytest.raises(DataError, match=r"^cut\.gz is not a sound gzip file") as caught:
            read("cut.gz")
        assert caught.value.exit_code == 65


def test_a_damaged_gzip_is_bad_data(read: Read) -> None:
    """A flipped bit is found, but for those in the header that do not concern the text."""
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


def test_a_damaged_gzip_in_a_folder_is_bad_data(read: Read) -> None:
    """It is not passed over as if it were something else."""
    write("folder/a.txt")
    write("folder/b.gz", b"\x1f\x8b\xff" + bytes(50))
    with pytest.raises(DataError, match=r"^b\.gz is not a sound gzip file"):
        read("folder")


def test_a_gzip_suffix_is_a_promise(read: Read) -> None:
    """A file called .gz that is none is an error, not text."""
    write("text.gz", "plain")
    with pytest.raises(DataError, match=r"^text\.gz is not a sound gzip file"):
        read("text.gz")


def test_a_gzip_bomb_is_stopped(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at the stated size, before it fills the memory."""
    write("bomb.gz", gzip.compress(b"0" * 100_000_000, compresslevel=1))
    monkeypatch.setattr(sources, "MAX_UNPACKED", 2_000_000)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"^bomb\.gz unpacks to more than 2,000,000 bytes"):
        read("bomb.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_gzip_of_the_largest_size_passes(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound itself is allowed."""
    write("large.gz", gzip.compress(b"0" * 1000))
    monkeypatch.setattr(sources, "MAX_UNPACKED", 1000)
    assert len(read("large.gz").sources[0].data) == 1000


def test_standard_input(read: Read) -> None:
    """`-` reads it once, packed or not, beside files."""
    write("a.txt", "file")
    reading = read("a.txt", "-", "-", stdin=io.BytesIO(gzip.compress(b"piped")))
    assert [(source.name, source.data) for source in reading.sources] == [
        ("-", b"piped"),
        ("a.txt", b"file"),
    ]


def test_closed_standard_input(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """`charnn prepare - <&-` ends in one sentence."""
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(StorageError, match="standard input is closed"):
        read("-")
    assert not reads_terminal(["-"])


def test_a_terminal_is_recognised() -> None:
    """So that the caller can say that it waits for typing; a pipe, or no `-`, needs no hint."""
    leader, follower = os.openpty()
    with os.fdopen(follower, "rb", buffering=0) as terminal:
        assert reads_terminal(["a.txt", "-"], terminal)
        assert not reads_terminal(["a.txt"], terminal)
    os.close(leader)
    assert not reads_terminal(["-"], io.BytesIO(b"piped"))


def test_a_pipe_by_name(read: Read) -> None:
    """A FIFO is read in one pass, as `charnn prepare <(command)` needs it."""
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
        ("notes.txt/x", "charnn corpora lists the named ones"),
        ("nowhere/at/all", "charnn corpora lists the named ones"),
        ("", "charnn corpora lists the named ones"),
    ],
)
def test_a_missing_path_gets_a_suggestion(read: Read, argument: str, hint: str) -> None:
    """Exit 74, and the nearest name in the folder or in the catalogue."""
    write("notes.txt")
    write("sub/poems.txt")
    with pytest.raises(StorageError) as caught:
        read(argument)
    assert caught.value.message == f"there is no file, folder or corpus called {argument}"
    assert caught.value.hint == hint
    assert caught.value.exit_code == 74


@pytest.mark.parametrize("argument", ["link.txt", "folder"])
def test_a_dangling_link_is_an_error(read: Read, argument: str) -> None:
    """Named or met in a folder: text that is missing is never left out in silence."""
    Path("folder").mkdir()
    for link in ("link.txt", "folder/link.txt"):
        Path(link).symlink_to("nowhere")
    with pytest.raises(StorageError, match=r"cannot read (folder/)?link\.txt: No such file"):
        read(argument)


@pytest.mark.parametrize("argument", ["secret.txt", "folder"])
def test_an_unreadable_file_is_an_error(
    read: Read, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named or met in a folder; the message says which file."""
    write("secret.txt")
    write("folder/secret.txt")

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StorageError, match=r"secret\.txt: Permission denied"):
        read(argument)


def test_an_unreadable_folder_is_an_error(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text is not left out in silence."""
    write("folder/a.txt")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(StorageError, match="cannot read folder: Permission denied"):
        read("folder")


def test_a_path_wins_over_a_corpus(read: Read) -> None:
    """What lies in the folder is meant; without it, the corpus of that name."""
    assert read("places").sources[0].data == b"the text of places\n"
    write("places", "my own places")
    assert read("places").sources[0].data == b"my own places"


def test_no_argument_is_the_default_corpus(read: Read) -> None:
    """Whatever lies in the folder, a bare `charnn prepare` does the same."""
    write("lamplighter", "something else")
    assert read().sources[0].data == b"the text of lamplighter\n"


def test_a_corpus_brings_its_splits(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay apart, and other sources join its training part."""
    texts = {"train": b"t", "val": b"v", "test": b"e"}
    monkeypatch.setattr(Catalogue, "fetch", lambda *_: texts)
    write("extra.txt", "more")
    reading = read("shakespeare", "extra.txt")
    assert [source.data for source in reading.of("train")] == [b"more", b"t"]
    assert [source.data for source in reading.of("val")] == [b"v"]
    assert [source.data for source in reading.of("test")] == [b"e"]


def test_other_sources_replace_a_split(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them belong to it then, whatever splits they had."""
    monkeypatch.setattr(Catalogue, "fetch", lambda *_: {"train": b"t", "val": b"v"})
    reading = read("shakespeare")
    changed = reading.with_split("val", reading.sources)

    assert [(source.data, source.split) for source in changed.sources] == [
        (b"t", "train"), (b"t", "val"), (b"v", "val"),
    ]  # fmt: skip
    assert changed.records == reading.records


def test_corpora_of_records_are_known_as_such(tmp_path: Path) -> None:
    """Only where all that is read are such corpora."""
    (tmp_path / "a.txt").write_text("text")
    file = str(tmp_path / "a.txt")

    assert read_sources(["places"]).records
    assert not read_sources(["places", file]).records
    assert not read_sources([file]).records
    assert not read_sources([]).records


def test_a_file_name_that_is_not_utf8(read: Read) -> None:
    """The file is read; its recorded name can be written as JSON."""
    try:
        Path(os.fsdecode(b"caf\xe9.txt")).write_text("text")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert names(read(".")) == ["caf\ufffd.txt"]


@pytest.mark.parametrize("argument", ["x" * 300, "a\nb", "[", "**", "-x", "~", "a/" * 3000, "a*/"])
def test_odd_arguments_are_plain_errors(read: Read, argument: str) -> None:
    """They end in a sentence, never in a traceback."""
    with pytest.raises(StorageError):
        read(argument)
