"""Datasets on disk: round trip, reproducible bytes, detection of damage."""

import json
import math
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import PrepareConfig
from charnn.data.dataset import (
    Dataset,
    find_dataset_of,
    fingerprint,
    is_written,
    open_dataset,
    prepare_again,
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


def test_written_dataset_is_read_back(tmp_path, text) -> None:
    """Ids, tokenizer and name; the start token is the newline."""
    write(tmp_path / "d", text)
    dataset = open_dataset(tmp_path / "d")

    assert dataset.tokenizer.decode(dataset.split("train")) == text[: int(len(text) * 0.9)].encode()
    assert dataset.tokenizer.pieces[dataset.start_token] == b"\n"
    assert dataset.name == "d"


def test_start_token_without_newline_is_the_most_frequent(tmp_path) -> None:
    """A vocabulary without a newline starts with the most frequent token of the train split."""
    write(tmp_path / "d", "abbbc" * 20)
    dataset = open_dataset(tmp_path / "d")

    assert dataset.tokenizer.pieces[dataset.start_token] == b"b"


def test_symbol_counts_match_counter(monkeypatch) -> None:
    """Counting in parts equals a Counter over all ids, with 0 for <unk>."""
    monkeypatch.setattr("charnn.data.dataset.COUNTED", 3)
    tokenizer = WordTokenizer.build("a b a c")
    ids = tokenizer.encode("c a zebra a b a zebra").ids
    expected = Counter(index for index in ids.tolist() if index != tokenizer.unk_id)

    assert len(ids) > 3
    assert tokenizer.unk_id in ids
    assert symbol_counts(ids, tokenizer).tolist() == [
        expected[index] for index in range(tokenizer.vocab_size)
    ]


def test_same_text_gives_identical_files(tmp_path, text) -> None:
    """Two datasets of one text are identical and contain no path of the machine."""
    for name in ("one", "two"):
        write(tmp_path / name, text, kind="bpe")

    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert str(tmp_path) not in (tmp_path / "one" / "meta.json").read_text()


def test_other_dataset_is_replaced_only_with_replace(tmp_path, text) -> None:
    """Different content is a UsageError, or replaces the whole dataset."""
    write(tmp_path / "d", text)
    with pytest.raises(UsageError, match="already exists"):
        write(tmp_path / "d", text + "more")
    write(tmp_path / "d", text + "more", replace=True)
    assert open_dataset(tmp_path / "d").meta["splits"]["train"]["chars"] > len(text) * 0.9


def test_is_written_compares_content(tmp_path, text) -> None:
    """False without a folder, for another dataset, and for modified files."""
    dataset = make_dataset(tmp_path / "d", split_text(text, 0.1, 0))
    assert not is_written(dataset)
    write_dataset(dataset)
    assert is_written(dataset)
    assert not is_written(make_dataset(tmp_path / "d", split_text(text, 0.2, 0)))
    (tmp_path / "d" / "val.bin").write_bytes(b"")
    assert not is_written(dataset)


def test_new_dataset_equals_the_one_read_back(tmp_path, text) -> None:
    """Manifest, name, fingerprint, start token and ids are equal."""
    made = write(tmp_path / "d", text)
    read = open_dataset(tmp_path / "d")

    assert dict(made.meta) == read.meta
    assert (made.name, made.fingerprint, made.start_token, made.records) == (
        read.name, read.fingerprint, read.start_token, read.records
    )  # fmt: skip
    assert all(np.array_equal(made.split(name), read.split(name)) for name in ("train", "val"))
    assert read.text("train") + read.text("val") == text


@given(st.binary(max_size=40), st.integers(1, 5))
def test_text_in_parts_is_the_whole_text(data, tokens) -> None:
    """Characters may cross the parts, and invalid bytes become U+FFFD."""
    dataset = Dataset(Path("d"), ByteTokenizer(), {"train": np.frombuffer(data, np.uint8)}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charnn.data.dataset.DECODED", tokens)

        assert dataset.text("train") == data.decode("utf-8", "replace")
        assert "".join(dataset.texts("train")) == dataset.text("train")


def test_memory_of_the_text_is_two_bytes_per_character() -> None:
    """The pieces of all tokens would take a hundred bytes per token."""
    ids = np.full(1_000_000, 97, np.uint8)
    dataset = Dataset(Path("d"), ByteTokenizer(), {"train": ids}, {})
    tracemalloc.start()
    text = dataset.text("train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(text) == len(ids)
    assert peak < 2 * len(ids) + 3_000_000


def test_manifest_counts(tmp_path) -> None:
    """Tokens, characters, UTF-8 bytes and out-of-vocabulary symbols of each split."""
    train, val = "café\n" * 40, "caffè\n"
    splits = {"train": train, "val": val}
    meta = make_dataset(tmp_path / "d", splits).meta

    assert meta["splits"]["train"] | {"sha256": ""} == {
        "tokens": 200, "chars": 200, "bytes": 240, "sha256": "", "unknown": 0, "unknown_nats": 0.0,
    }  # fmt: skip
    assert meta["splits"]["val"] | {"sha256": ""} == {
        "tokens": 6, "chars": 6, "bytes": 7, "sha256": "", "unknown": 1,
        # "è", two bytes without examples, and p(<unk>) = half an occurrence of 200
        "unknown_nats": round(2 * math.log(256) + math.log(400), 6),
    }  # fmt: skip


def test_cost_of_unknown_tokens_is_a_mean_over_a_split(tmp_path) -> None:
    """It is read back from the manifest; it has no nats if the manifest is older."""
    train, val = " the sea the lamp the stair", " the gull the gull a sea"
    tokenizer = WordTokenizer.build(train)
    made = written_dataset(tmp_path / "d", {"train": train, "val": val}, tokenizer)
    read = open_dataset(tmp_path / "d")
    cost, model = read.unknown_cost("val"), read.unknown_model

    assert model
    assert model.examples == (" lamp", " sea", " stair")
    assert cost.chars == (5 + 5 + 2) / 3
    gull, a = model.nats([" gull", " a"])
    assert cost.nats == pytest.approx((2 * gull + a) / 3, abs=1e-6)
    assert math.isclose(cost.known, -math.log(1 - 3 / 6))
    assert read.chars_per_token("val") == (4 + 4 + 4) / 3
    assert cost == made.unknown_cost("val")

    meta = json.loads((tmp_path / "d/meta.json").read_text())
    del meta["unknown"], meta["splits"]["val"]["unknown_nats"]
    (tmp_path / "d/meta.json").write_text(json.dumps(meta))
    old = open_dataset(tmp_path / "d")
    assert old.unknown_model is None
    assert old.unknown_cost("val").chars == cost.chars
    assert math.isnan(old.unknown_cost("val").nats + old.unknown_cost("val").known)


@pytest.mark.parametrize(
    "damage",
    [
        lambda meta: meta["unknown"].update(probability=2.0),
        lambda meta: meta["unknown"].update(symbols=7),
        lambda meta: meta.update(unknown="no"),
        lambda meta: meta["splits"]["val"].update(unknown_nats="much"),
    ],
)
def test_damaged_cost_of_unknown_tokens_is_a_data_error(tmp_path, text, damage) -> None:
    """It names the manifest."""
    write(tmp_path / "d", text)
    path = tmp_path / "d/meta.json"
    meta = json.loads(path.read_text())
    damage(meta)
    path.write_text(json.dumps(meta))

    with pytest.raises(DataError, match=r"meta\.json is damaged"):
        open_dataset(tmp_path / "d")


def test_byte_dataset_counts_characters(tmp_path) -> None:
    """UTF-8 continuation bytes do not count as characters."""
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
def test_damaged_file_is_a_data_error(tmp_path, text, name, damage) -> None:
    """The error names the file whose content differs from the manifest."""
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
def test_invalid_manifest_is_a_data_error(tmp_path, text, change) -> None:
    """Missing keys and wrong types are a DataError that names the manifest."""
    write(tmp_path / "d", text)
    path = tmp_path / "d" / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=r"meta\.json"):
        open_dataset(tmp_path / "d")


def test_ids_outside_the_vocabulary_are_a_data_error(tmp_path, text) -> None:
    """The ids are checked even if the SHA-256 matches."""
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


def test_find_dataset_by_fingerprint(tmp_path, text) -> None:
    """The name of the dataset is irrelevant; an unknown fingerprint is a DataError."""
    write(tmp_path / "a", text)
    write(tmp_path / "b", text + "other")
    wanted = fingerprint(read_meta(tmp_path / "b"))

    assert find_dataset_of(wanted, tmp_path).name == "b"
    with pytest.raises(DataError, match="not in"):
        find_dataset_of("0" * 64, tmp_path)


def test_folder_without_manifest_is_a_storage_error(tmp_path) -> None:
    """The message says that the folder is not a dataset."""
    with pytest.raises(StorageError, match="not a dataset"):
        open_dataset(tmp_path)


def test_a_damaged_dataset_names_the_command_that_replaces_it(tmp_path, text, monkeypatch) -> None:
    """With the settings that its manifest records; without a manifest, with its name only."""
    config = PrepareConfig(tokenizer="word", lines=True, seed=7)
    write(tmp_path / "d", text, kind="word", config=config)
    path = tmp_path / "d" / "meta.json"
    meta = json.loads(path.read_text())
    meta["sources"] = [{"name": "my lamp.txt", "split": "train", "bytes": 1, "sha256": ""}]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my lamp.txt").write_text(text)
    path.write_text(json.dumps(meta))
    options = "--tokenizer word --lines --seed 7"
    end = f"--data-dir {tmp_path} --force"

    assert prepare_again(tmp_path / "d") == (
        f"charnn prepare 'my lamp.txt' --name d {options} {end}"
    )
    monkeypatch.chdir(tmp_path / "d")
    assert prepare_again(tmp_path / "d").startswith(
        "charnn prepare SOURCE --name d --tokenizer word"
    )
    path.write_text("[]")
    assert prepare_again(tmp_path / "d") == f"charnn prepare SOURCE --name d {end}"


def test_missing_split_is_a_usage_error(tmp_path, text) -> None:
    """The hint names the option that creates the split."""
    write(tmp_path / "d", text)
    with pytest.raises(UsageError, match="dataset d has no test split") as caught:
        open_dataset(tmp_path / "d").split("test")

    assert "charnn prepare … --test-frac 0.1 (or --test FILE)" in caught.value.hint


@pytest.mark.parametrize("replace", [False, True])
def test_folder_of_texts_is_not_replaced(tmp_path, replace) -> None:
    """`charnn prepare data/novels` would write the dataset to the folder of its source."""
    novels = tmp_path / "novels"
    novels.mkdir()
    (novels / "emma.txt").write_text("Emma Woodhouse, handsome, clever, and rich")
    with pytest.raises(StorageError, match=r"not written by charnn: emma\.txt") as refused:
        write(novels, "abcde" * 40, replace=replace)
    assert "--force" not in refused.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["novels"]
    assert (novels / "emma.txt").exists()


@pytest.mark.parametrize("replace", [False, True])
def test_file_is_not_replaced_by_a_dataset(tmp_path, replace) -> None:
    """A file with the name of the dataset is a StorageError and is kept."""
    (tmp_path / "shakespeare").write_text("To be, or not to be")
    with pytest.raises(StorageError, match="is a file, not a dataset"):
        write(tmp_path / "shakespeare", "abcde" * 40, replace=replace)
    assert (tmp_path / "shakespeare").read_text() == "To be, or not to be"
