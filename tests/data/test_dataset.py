"""Datasets: splits, reproducible bytes, and damage that is found."""

import json
from collections import Counter

import numpy as np
import pytest

from charnn.config import PrepareConfig
from charnn.data.dataset import (
    find_dataset_of,
    fingerprint,
    is_written,
    open_dataset,
    read_meta,
    symbol_counts,
    write_dataset,
)
from charnn.data.splits import split_text
from charnn.errors import DataError, StorageError, UsageError
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.registry import TOKENIZERS
from charnn.tokenizers.words import WordTokenizer
from tests.tiny import make_dataset, written_dataset

CONFIG = PrepareConfig()


def write(folder, text, *, kind="char", config=CONFIG, **options):
    splits = split_text(text, config.val_frac, config.test_frac)
    tokenizer = TOKENIZERS[kind].build(splits["train"])
    return written_dataset(folder, splits, tokenizer, config, **options)


def test_what_is_written_is_read_back(tmp_path, text) -> None:
    """Ids, tokenizer and start token; the newline comes before the first token."""
    write(tmp_path / "d", text)
    dataset = open_dataset(tmp_path / "d")

    assert dataset.tokenizer.decode(dataset.split("train")) == text[: int(len(text) * 0.9)].encode()
    assert dataset.tokenizer.pieces[dataset.start_token] == b"\n"
    assert dataset.name == "d"


def test_without_a_newline_the_commonest_token_starts(tmp_path) -> None:
    """It must be some token of the training part."""
    write(tmp_path / "d", "abbbc" * 20)
    dataset = open_dataset(tmp_path / "d")

    assert dataset.tokenizer.pieces[dataset.start_token] == b"b"


def test_symbols_are_counted_part_by_part(monkeypatch) -> None:
    """As a Counter does, and what is outside the vocabulary counts as never seen."""
    monkeypatch.setattr("charnn.data.dataset.COUNTED", 3)
    tokenizer = WordTokenizer.build("a b a c")
    ids = tokenizer.encode("c a zebra a b a zebra").ids
    expected = Counter(index for index in ids.tolist() if index != tokenizer.unk_id)

    assert len(ids) > 3
    assert tokenizer.unk_id in ids
    assert symbol_counts(ids, tokenizer).tolist() == [
        expected[index] for index in range(tokenizer.vocab_size)
    ]


def test_a16_the_same_text_gives_the_same_folder(tmp_path, text) -> None:
    """Byte for byte, with no time and no path of this machine in it."""
    for name in ("one", "two"):
        write(tmp_path / name, text, kind="bpe")

    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert str(tmp_path) not in (tmp_path / "one" / "meta.json").read_text()


def test_another_dataset_is_replaced_only_if_asked_to(tmp_path, text) -> None:
    """Other content is refused, or replaces all of it."""
    write(tmp_path / "d", text)
    with pytest.raises(UsageError, match="exists already"):
        write(tmp_path / "d", text + "more")
    write(tmp_path / "d", text + "more", replace=True)
    assert open_dataset(tmp_path / "d").meta["splits"]["train"]["chars"] > len(text) * 0.9


def test_a_folder_holds_a_dataset_only_if_it_is_the_same_and_undamaged(tmp_path, text) -> None:
    """Not if there is none, not another one, and not one whose files were changed."""
    dataset = make_dataset(tmp_path / "d", split_text(text, 0.1, 0))
    assert not is_written(dataset)
    write_dataset(dataset)
    assert is_written(dataset)
    assert not is_written(make_dataset(tmp_path / "d", split_text(text, 0.2, 0)))
    (tmp_path / "d" / "val.bin").write_bytes(b"")
    assert not is_written(dataset)


def test_what_was_made_is_what_is_read(tmp_path, text) -> None:
    """A dataset before it is written equals the one that is read from its folder."""
    made = write(tmp_path / "d", text)
    read = open_dataset(tmp_path / "d")

    assert dict(made.meta) == read.meta
    assert (made.name, made.fingerprint, made.start_token, made.records) == (
        read.name, read.fingerprint, read.start_token, read.records
    )  # fmt: skip
    assert all(np.array_equal(made.split(name), read.split(name)) for name in ("train", "val"))
    assert read.text("train") + read.text("val") == text


def test_counts_in_the_manifest_are_those_of_the_text(tmp_path) -> None:
    """Tokens, characters, UTF-8 bytes and unknown symbols of each split."""
    train, val = "café\n" * 40, "caffè\n"
    splits = {"train": train, "val": val}
    meta = make_dataset(tmp_path / "d", splits).meta

    assert meta["splits"]["train"] | {"sha256": ""} == {
        "tokens": 200, "chars": 200, "bytes": 240, "sha256": "", "unknown": 0,
    }  # fmt: skip
    assert meta["splits"]["val"] | {"sha256": ""} == {
        "tokens": 6, "chars": 6, "bytes": 7, "sha256": "", "unknown": 1,
    }  # fmt: skip


def test_characters_of_a_byte_dataset_are_counted_by_their_first_byte(tmp_path) -> None:
    """Continuation bytes are no characters of their own."""
    data = "é中a\n".encode() * 10
    meta = make_dataset(tmp_path / "d", {"train": data}, ByteTokenizer()).meta

    assert (meta["splits"]["train"]["chars"], meta["splits"]["train"]["bytes"]) == (40, 70)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: np.frombuffer(data, "u1").astype("u2").tobytes(),
    ],
    ids=["truncated", "longer", "empty", "flipped", "other dtype"],
)
@pytest.mark.parametrize("name", ["train.bin", "tokenizer.json"])
def test_a17_damage_is_found_before_the_first_step(tmp_path, text, name, damage) -> None:
    """DataError naming the file that is not what was prepared."""
    write(tmp_path / "d", text)
    path = tmp_path / "d" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=name):
        open_dataset(tmp_path / "d")


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 99},
        {"splits": {}},
        {"splits": None},
        {"tokenizer": []},
        {"start_token": 10**6},
        {"start_token": "0"},
        {"policies": None},
        {"policies": ["lines"]},
        {"policies": {"lines": 1}},
        {"sources": None},
        {"sources": {}},
        {"sources": [1]},
        {"sources": [{}]},
        {"sources": [{"name": "a", "split": "train", "bytes": True, "sha256": ""}]},
        {"sources": [{"name": "a", "split": "train", "bytes": 1, "sha256": "", "more": 1}]},
    ],
    ids=str,
)
def test_a_manifest_that_lies_is_refused(tmp_path, text, change) -> None:
    """DataError, no KeyError."""
    write(tmp_path / "d", text)
    path = tmp_path / "d" / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=r"meta\.json"):
        open_dataset(tmp_path / "d")


def test_ids_beyond_the_vocabulary_are_found(tmp_path, text) -> None:
    """Even where the hash was made to match."""
    write(tmp_path / "d", text)
    path, meta_path = tmp_path / "d" / "train.bin", tmp_path / "d" / "meta.json"
    data = b"\xff" + path.read_bytes()[1:]
    path.write_bytes(data)
    meta = json.loads(meta_path.read_text())
    import hashlib

    meta["splits"]["train"]["sha256"] = hashlib.sha256(data).hexdigest()
    meta_path.write_text(json.dumps(meta))
    with pytest.raises(DataError, match="255"):
        open_dataset(tmp_path / "d")


def test_a_dataset_is_found_by_its_fingerprint(tmp_path, text) -> None:
    """Whatever its name; where none fits, that is said."""
    write(tmp_path / "a", text)
    write(tmp_path / "b", text + "other")
    wanted = fingerprint(read_meta(tmp_path / "b"))

    assert find_dataset_of(wanted, tmp_path).name == "b"
    with pytest.raises(DataError, match="not in"):
        find_dataset_of("0" * 64, tmp_path)


def test_a_folder_that_is_no_dataset_says_so(tmp_path) -> None:
    """StorageError with the command that makes one."""
    with pytest.raises(StorageError, match="not a dataset"):
        open_dataset(tmp_path)


def test_a_missing_split_names_those_that_are_there(tmp_path, text) -> None:
    """And how to make it."""
    write(tmp_path / "d", text)
    with pytest.raises(DataError, match="no test split") as caught:
        open_dataset(tmp_path / "d").split("test")

    assert "--test" in caught.value.hint


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_of_texts_never_makes_way(tmp_path, replace) -> None:
    """`charnn prepare data/novels` names the dataset after its source: the very same folder."""
    novels = tmp_path / "novels"
    novels.mkdir()
    (novels / "emma.txt").write_text("Emma Woodhouse, handsome, clever, and rich")
    with pytest.raises(StorageError, match=r"not written by charnn: emma\.txt") as refused:
        write(novels, "abcde" * 40, replace=replace)
    assert "--force" not in refused.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["novels"]
    assert (novels / "emma.txt").exists()


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_never_makes_way(tmp_path, replace) -> None:
    (tmp_path / "shakespeare").write_text("To be, or not to be")
    with pytest.raises(StorageError, match="is a file, not a dataset"):
        write(tmp_path / "shakespeare", "abcde" * 40, replace=replace)
    assert (tmp_path / "shakespeare").read_text() == "To be, or not to be"
