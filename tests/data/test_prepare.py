"""Which text becomes which split: files given, the rest cut by its fractions."""

import json
import os

import pytest

from charnn.config import PrepareConfig
from charnn.data.dataset import open_dataset
from charnn.data.prepare import dataset_name, prepare, refuse_own_splits
from charnn.data.sources import Reading, Source, read_sources
from charnn.errors import UsageError
from charnn.storage.atomic import sha256
from charnn.storage.workspace import check_name
from charnn.tokenizers.byte import ByteTokenizer

LINES = [f"record {number}\n" for number in range(100)]
TRAIN = "".join(LINES)


def reading_of(texts):
    """Return a reading with these texts by split."""
    sources = [
        Source(split, text.encode(), sha256(text.encode()), split) for split, text in texts.items()
    ]
    return Reading(tuple(sources))


@pytest.fixture
def prepared(tmp_path):
    """A function: texts by split, and settings → (texts of the splits, recorded policies)."""

    def run(texts, **settings):
        folder = tmp_path / "d"
        prepare(reading_of(texts), folder, PrepareConfig(**settings))
        dataset = open_dataset(folder)
        splits = {
            name: dataset.tokenizer.decode(ids.tolist()).decode()
            for name, ids in dataset.splits.items()
        }
        return splits, json.loads((folder / "meta.json").read_text())["policies"]

    return run


def test_what_is_not_given_is_cut_from_the_text(prepared) -> None:
    """A file for validation leaves the test fraction as it is."""
    splits, policies = prepared({"train": TRAIN, "val": "record 7"}, test_frac=0.2)
    end = int(len(TRAIN) * 0.8)

    assert splits == {"train": TRAIN[:end], "val": "record 7", "test": TRAIN[end:]}
    assert (policies["val_frac"], policies["test_frac"]) == (0, 0.2)


def test_a_file_for_the_test_leaves_the_validation_split(prepared) -> None:
    """By the fraction that is the default."""
    splits, policies = prepared({"train": TRAIN, "test": "record 7"})
    end = int(len(TRAIN) * 0.9)

    assert splits == {"train": TRAIN[:end], "val": TRAIN[end:], "test": "record 7"}
    assert (policies["val_frac"], policies["test_frac"]) == (0.1, 0)


def test_with_splits_of_its_own_nothing_is_cut(prepared) -> None:
    """As the texts of a corpus that brings all three."""
    texts = {"train": TRAIN, "val": "record 7", "test": "record 8"}

    assert prepared(texts) == (texts, PrepareConfig(val_frac=0).model_dump())


def test_records_are_shuffled_beside_a_given_split(prepared) -> None:
    """The given one keeps its order, and its last record gets its end."""
    splits, _ = prepared({"train": TRAIN, "val": "record 7\nrecord 1"}, lines=True)
    records = splits["train"].splitlines(keepends=True)

    assert sorted(records) == sorted(LINES)
    assert records != LINES
    assert splits["val"] == "record 7\nrecord 1\n"


def test_preparing_again_changes_nothing(tmp_path) -> None:
    """The files stay as they are, and the dataset becomes the newest one."""
    reading = reading_of({"train": TRAIN})
    first = prepare(reading, tmp_path / "d", PrepareConfig())
    inodes = {path.name: path.stat().st_ino for path in (tmp_path / "d").iterdir()}
    os.utime(tmp_path / "d" / "meta.json", (0, 0))
    second = prepare(reading, tmp_path / "d", PrepareConfig())

    assert (first.unchanged, second.unchanged) == (False, True)
    assert {path.name: path.stat().st_ino for path in (tmp_path / "d").iterdir()} == inodes
    assert (tmp_path / "d" / "meta.json").stat().st_mtime > 0
    with pytest.raises(UsageError, match="exists already"):
        prepare(reading, tmp_path / "d", PrepareConfig(val_frac=0.2))


@pytest.mark.parametrize(
    ("kind", "train", "val", "counted"),
    [("char", "abc\n", "xabxd", "'x' ×2, 'd' ×1"), ("word", "one two", "one 2 2 3", "' 2' ×2")],
)
def test_symbols_outside_the_vocabulary_are_counted_and_named(
    tmp_path, kind, train, val, counted
) -> None:
    """In the manifest and in a note that lists the most frequent ones."""
    texts = {"train": train, "val": val}
    done = prepare(reading_of(texts), tmp_path / "d", PrepareConfig(tokenizer=kind))

    assert done.dataset.meta["splits"]["train"]["unknown"] == 0
    assert done.dataset.meta["splits"]["val"]["unknown"] == 3
    assert [
        note for note in done.notes if counted in note and note.startswith("val: 3 tokens of 2")
    ]


def test_a_tokenizer_that_is_given_is_used_and_recorded(tmp_path) -> None:
    """Its kind wins over that of the settings; nothing is built from the text."""
    given = ByteTokenizer()
    reading = reading_of({"train": TRAIN})
    done = prepare(reading, tmp_path / "d", PrepareConfig(tokenizer="word"), tokenizer=given)

    assert done.dataset.tokenizer is given
    assert done.dataset.meta["policies"]["tokenizer"] == "byte"


def test_a_pipe_without_a_name_is_standard_input() -> None:
    """As that of `<(zcat text.gz)`, whose number is another one each time."""
    reading, writing = os.pipe()
    os.write(writing, b"text")
    os.close(writing)
    source = f"/dev/fd/{reading}"

    assert dataset_name([source], "") == "stdin"
    assert read_sources([source]).sources[0].name == "-"
    os.close(reading)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("texts/lamp.txt.gz", "lamp"),
        ("caf\udce9.txt", "caf\ufffd"),
        ("a\nb.txt", "a\ufffdb"),
        ("-", "stdin"),
        ("/dev/null", "stdin"),
    ],
)
def test_a_dataset_is_named_after_its_source(source, name) -> None:
    """By a name that can be written and shown, whatever the bytes of the file's name."""
    assert check_name(dataset_name([source], "")) == name


def test_a_fraction_of_what_a_corpus_brings_is_refused() -> None:
    """Its split stays as it is, so the fraction would do nothing."""
    with pytest.raises(UsageError, match="a val split of its own"):
        refuse_own_splits({"val_frac": 0.2}, reading_of({"train": TRAIN, "val": TRAIN}))
    refuse_own_splits({"val_frac": 0.2}, reading_of({"train": TRAIN}))
