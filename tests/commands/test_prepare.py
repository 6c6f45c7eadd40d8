"""`charnn prepare`: options that are not settings."""

import pytest

from charnn.cli import main
from charnn.data.dataset import open_dataset
from charnn.data.splits import split_text
from charnn.model.model_file import ModelFile, write_model
from charnn.storage.lock import Lock
from tests.tiny import random_tensors, tiny_config, written_dataset


@pytest.mark.parametrize("source", ["old", "a-run"])
def test_tokenizer_from_accepts_names(source, text, tmp_path, monkeypatch) -> None:
    """The new dataset has the same vocabulary, although its text has fewer characters."""
    monkeypatch.chdir(tmp_path)
    tokenizer = written_dataset(tmp_path / "data" / "old", split_text(text, 0.1, 0)).tokenizer
    shape = tiny_config(vocab_size=tokenizer.vocab_size)
    (tmp_path / "runs" / "a-run").mkdir(parents=True)
    model = ModelFile(shape, tokenizer, 0, random_tensors(shape))
    write_model(tmp_path / "runs" / "a-run" / "model.safetensors", model)
    (tmp_path / "new.txt").write_text(text[:5] * 200)

    assert main(["prepare", "new.txt", "--tokenizer-from", source, "-q"]) == 0

    assert open_dataset(tmp_path / "data" / "new").tokenizer.pieces == tokenizer.pieces


def test_prepare_says_what_it_read_and_skipped(tmp_path, monkeypatch, capfd) -> None:
    """The folders of datasets and runs are not part of `prepare .`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("lamp " * 500)
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "config.yaml").write_text("lr: 1\n")
    assert main(["prepare", ".", "--name", "one"]) == 0
    assert "read 1 file, 2.5 kB; skipped 1 file: 1 written by charnn" in capfd.readouterr().err

    assert main(["prepare", ".", "--name", "one"]) == 0

    assert "skipped 5 files: 5 written by charnn" in capfd.readouterr().err
    assert [s["name"] for s in open_dataset(tmp_path / "data" / "one").meta["sources"]] == ["a.txt"]


def test_a_dataset_that_is_read_is_not_replaced(tmp_path, monkeypatch, capfd) -> None:
    """75 with --force; the same dataset again is no change and succeeds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("lamp " * 500)
    prepare = ["prepare", "a.txt", "--name", "one", "-q"]
    assert main(prepare) == 0
    with Lock(tmp_path / "data", "one", shared=True):
        assert main(prepare) == 0
        assert main([*prepare, "--newlines", "lf", "--force"]) == 75
    assert "is in use by process" in capfd.readouterr().err
    assert main([*prepare, "--newlines", "lf", "--force"]) == 0


def test_the_same_text_in_two_splits_is_a_warning(tmp_path, monkeypatch, capfd) -> None:
    """By content, whatever the names; also with --quiet. Empty files do not count."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"a": "lamp ", "copy": "lamp ", "b": "stair "}.items():
        (tmp_path / f"{name}.txt").write_text(text * 500)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "c").mkdir()
    for file in ("a", "b", "empty"):
        (tmp_path / "c" / f"{file}.txt").write_bytes((tmp_path / f"{file}.txt").read_bytes())

    def warned(*arguments: str) -> list[str]:
        assert main(["prepare", *arguments, "--name", "one", "--force", "-q"]) == 0
        return capfd.readouterr().err.splitlines()

    same = "charnn: warning: the {} and the {} split have the same text ({}): the {} loss does "
    same += "not show how well the model generalizes"
    assert warned("a.txt", "--val", "b.txt") == []
    assert warned("a.txt", "--val", "a.txt") == [same.format("train", "val", "a.txt", "val")]
    assert warned("c", "--test", "copy.txt") == [same.format("train", "test", "copy.txt", "test")]
    assert warned("a.txt", "--val", "b.txt", "--test", "b.txt") == [
        same.format("val", "test", "b.txt", "test")
    ]
    assert warned("a.txt", "empty.txt", "--val", "c") == [
        same.format("train", "val", "a.txt", "val")
    ]
