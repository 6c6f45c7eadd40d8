"""`charnn prepare`: options that are not settings."""

import pytest

from charnn.cli import main
from charnn.data.dataset import open_dataset
from charnn.data.splits import split_text
from charnn.model.model_file import ModelFile, write_model
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
