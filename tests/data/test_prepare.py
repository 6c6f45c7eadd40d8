"""Preparation of a dataset: splits, vocabulary, names."""

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
    """Return a reading with one source per split."""
    sources = [
        Source(split, text.encode(), sha256(text.encode()), split) for split, text in texts.items()
    ]
    return Reading(tuple(sources))


@pytest.fixture
def prepared(tmp_path):
    """Return a function from texts and settings to the texts of the splits and the policies."""

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


def test_the_bytes_of_the_sources_are_released(tmp_path) -> None:
    """Only the text and its tokens need memory then; the manifest has the size of the bytes."""
    reading = reading_of({"train": TRAIN})
    dataset = prepare(reading, tmp_path / "d", PrepareConfig()).dataset

    assert reading.sources[0].data == b""
    assert dataset.meta["sources"][0]["bytes"] == reading.sources[0].size == len(TRAIN)


def test_val_file_and_test_fraction(prepared) -> None:
    """With a validation file, only the test split is cut from the text."""
    splits, policies = prepared({"train": TRAIN, "val": "record 7"}, test_frac=0.2)
    end = int(len(TRAIN) * 0.8)

    assert splits == {"train": TRAIN[:end], "val": "record 7", "test": TRAIN[end:]}
    assert (policies["val_frac"], policies["test_frac"]) == (0, 0.2)


def test_test_file_and_default_val_fraction(prepared) -> None:
    """With a test file, the validation split is cut by the default fraction."""
    splits, policies = prepared({"train": TRAIN, "test": "record 7"})
    end = int(len(TRAIN) * 0.9)

    assert splits == {"train": TRAIN[:end], "val": TRAIN[end:], "test": "record 7"}
    assert (policies["val_frac"], policies["test_frac"]) == (0.1, 0)


def test_given_splits_are_not_cut(prepared) -> None:
    """A corpus with three splits is used without cutting."""
    texts = {"train": TRAIN, "val": "record 7", "test": "record 8"}

    assert prepared(texts) == (texts, PrepareConfig(val_frac=0).model_dump())


def test_only_the_train_records_are_shuffled(prepared) -> None:
    """A given split keeps its order, and its last record gets a final newline."""
    splits, _ = prepared({"train": TRAIN, "val": "record 7\nrecord 1"}, lines=True)
    records = splits["train"].splitlines(keepends=True)

    assert sorted(records) == sorted(LINES)
    assert records != LINES
    assert splits["val"] == "record 7\nrecord 1\n"


def test_preparing_again_keeps_the_files(tmp_path) -> None:
    """Only the time of the manifest changes, so that the dataset is the newest one."""
    texts = {"train": TRAIN}
    first = prepare(reading_of(texts), tmp_path / "d", PrepareConfig())
    inodes = {path.name: path.stat().st_ino for path in (tmp_path / "d").iterdir()}
    os.utime(tmp_path / "d" / "meta.json", (0, 0))
    second = prepare(reading_of(texts), tmp_path / "d", PrepareConfig())

    assert (first.unchanged, second.unchanged) == (False, True)
    assert {path.name: path.stat().st_ino for path in (tmp_path / "d").iterdir()} == inodes
    assert (tmp_path / "d" / "meta.json").stat().st_mtime > 0
    with pytest.raises(UsageError, match="already exists"):
        prepare(reading_of(texts), tmp_path / "d", PrepareConfig(val_frac=0.2))


@pytest.mark.parametrize(
    ("kind", "train", "val", "counted"),
    [("char", "abc\n", "xabxd", "'x' ×2, 'd' ×1"), ("word", "one two", "one 2 2 3", "' 2' ×2")],
)
def test_out_of_vocabulary_symbols_are_reported(tmp_path, kind, train, val, counted) -> None:
    """The manifest has their number, a note lists the most frequent ones."""
    texts = {"train": train, "val": val}
    done = prepare(reading_of(texts), tmp_path / "d", PrepareConfig(tokenizer=kind))

    assert done.dataset.meta["splits"]["train"]["unknown"] == 0
    assert done.dataset.meta["splits"]["val"]["unknown"] == 3
    assert [
        note
        for note in done.notes
        if counted in note and note.startswith("val: 3 out-of-vocabulary tokens (2 distinct)")
    ]


def test_given_tokenizer_is_used_and_recorded(tmp_path) -> None:
    """It takes precedence over the tokenizer of the settings."""
    given = ByteTokenizer()
    reading = reading_of({"train": TRAIN})
    done = prepare(reading, tmp_path / "d", PrepareConfig(tokenizer="word"), tokenizer=given)

    assert done.dataset.tokenizer is given
    assert done.dataset.meta["policies"]["tokenizer"] == "byte"


def test_unnamed_pipe_is_called_stdin() -> None:
    """The name `/dev/fd/N` of `<(command)` changes from call to call and is not used."""
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
def test_dataset_name_from_source(source, name) -> None:
    """Suffixes and characters that a name cannot contain are removed or replaced."""
    assert check_name(dataset_name([source], "")) == name


def test_fraction_of_a_given_split_is_refused() -> None:
    """--val-frac has no effect if the corpus has a validation split."""
    with pytest.raises(UsageError, match="already has a val split"):
        refuse_own_splits({"val_frac": 0.2}, reading_of({"train": TRAIN, "val": TRAIN}))
    refuse_own_splits({"val_frac": 0.2}, reading_of({"train": TRAIN}))
