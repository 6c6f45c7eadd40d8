"""Preparation of a dataset: splits, vocabulary, names."""

import json
import os

import pytest

from charnn.config import PrepareConfig
from charnn.data.dataset import open_dataset
from charnn.data.prepare import dataset_name, prepare, prepare_dataset, refuse_own_splits
from charnn.data.records import record_bounds
from charnn.data.sources import Reading, Source, read_sources
from charnn.errors import UsageError
from charnn.storage.atomic import sha256
from charnn.storage.workspace import check_name
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.registry import TOKENIZERS

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
        ("good.log", "good"),
        ("novel.v2.jsonl.gz", "novel.v2"),
        ("v1.2", "v1.2"),
        ("lamp.gz", "lamp"),
        (".bashrc", "bashrc"),
        ("my book (2).txt", "my-book-2"),
        ("日記 一.txt", "日記-一"),
        ("e\u0301te\u0301.txt", "e\u0301te\u0301"),
        ("caf\udce9.txt", "caf"),
        ("a\nb.txt", "a-b"),
        ("texts/*.txt", "texts"),
        ("-", "stdin"),
        ("/dev/null", "stdin"),
    ],
)
def test_dataset_name_from_source(source, name) -> None:
    """Suffixes and characters that a name cannot contain are removed or replaced."""
    assert check_name(dataset_name([source], "")) == name


def test_dataset_name_of_a_folder_keeps_its_suffix(tmp_path) -> None:
    """A folder has no type."""
    (tmp_path / "letters.old").mkdir()

    assert dataset_name([str(tmp_path / "letters.old")], "") == "letters.old"


def test_a_source_without_letters_needs_a_name() -> None:
    """Neither the file nor its folder gives a valid name."""
    with pytest.raises(UsageError, match="cannot derive a dataset name from '/!!!'"):
        dataset_name(["/!!!"], "")


def test_fraction_of_a_given_split_is_refused() -> None:
    """--val-frac has no effect if the corpus has a validation split."""
    with pytest.raises(UsageError, match="already has a val split"):
        refuse_own_splits({"val_frac": 0.2}, reading_of({"train": TRAIN, "val": TRAIN}))
    refuse_own_splits({"val_frac": 0.2}, reading_of({"train": TRAIN}))


def test_shared_and_repeated_records_are_counted(tmp_path) -> None:
    """A note and the manifest have how many validation records are in the training split too."""
    texts = {"train": "anna\nbob\n" * 50}
    done = prepare(reading_of(texts), tmp_path / "d", PrepareConfig(lines=True))
    unsplit = prepare(reading_of(texts), tmp_path / "text", PrepareConfig())

    expected = {"train": 90, "val": 10, "val_in_train": 10, "removed": 0}
    assert open_dataset(tmp_path / "d").meta["records"] == expected
    assert any(
        note.startswith("10 of 10 validation records are also in the training split; --unique")
        for note in done.notes
    )
    assert "records" not in unsplit.dataset.meta


def test_unique_removes_repeated_records(tmp_path) -> None:
    """Before the split, so that no validation record is in the training split."""
    reading = reading_of({"train": TRAIN + TRAIN})
    done = prepare(reading, tmp_path / "d", PrepareConfig(lines=True, unique=True))
    dataset = open_dataset(tmp_path / "d")

    expected = {"train": 90, "val": 10, "val_in_train": 0, "removed": 100}
    assert dataset.meta["records"] == expected
    assert sorted(dataset.text("train") + dataset.text("val")) == sorted(TRAIN)
    assert "removed 100 repeated lines" in done.notes
    assert "0 of 10 validation records are also in the training split" in done.notes


def test_unique_needs_records(tmp_path) -> None:
    """Text that is not cut into lines has no repeated records."""
    with pytest.raises(UsageError, match="--unique") as caught:
        prepare_dataset(reading_of({"train": TRAIN}), "d", tmp_path, {"unique": True})
    assert caught.value.hint == "add --lines"
    prepare_dataset(reading_of({"train": TRAIN}), "d", tmp_path, {"unique": True, "lines": True})


def test_records_need_the_newline_in_the_vocabulary(tmp_path) -> None:
    """Otherwise their ends are `<unk>`, like other rare symbols."""
    config = PrepareConfig(lines=True, vocab_size=3)
    with pytest.raises(UsageError, match="newline, which ends each record"):
        prepare(reading_of({"train": "aabbccdd\n" * 9}), tmp_path / "d", config)


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_records_are_encoded_one_by_one(tmp_path, kind) -> None:
    """Also if they begin or end with spaces: a token crosses no end of a line."""
    text = "one  two\n  three \n\n\n four\n" * 9
    config = PrepareConfig(lines=True, tokenizer=kind, val_frac=0)
    dataset = prepare(reading_of({"train": text}), tmp_path / "d", config).dataset
    tokens, encode = dataset.split("train"), dataset.tokenizer.encode
    end = dataset.tokenizer.newline_id

    expected = [[*encode(line).ids, end] for line in dataset.text("train").split("\n")[:-1]]
    assert tokens.tolist() == [index for ids in expected for index in ids]
    assert dataset.start_token == end
    assert len(record_bounds(tokens, end)) == 1 + 9 * 5
