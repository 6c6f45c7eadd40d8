"""A model, its dataset and a text, for tests of commands."""

import pytest

from charnn.data import dataset
from charnn.data.splits import split_text
from charnn.model.model_file import ModelFile, write_model
from tests.tiny import random_tensors, tiny_config, written_dataset


@pytest.fixture
def opened(tmp_path, text, monkeypatch):
    """Create a model and its dataset, and return a list of the datasets that are opened."""
    monkeypatch.chdir(tmp_path)
    lamp = written_dataset(tmp_path / "data" / "lamp", split_text(text, 0.1, 0))
    shape = tiny_config(vocab_size=lamp.tokenizer.vocab_size)
    tensors = random_tensors(shape, scale=0.3)
    model = ModelFile(shape, lamp.tokenizer, 0, tensors, fingerprint=lamp.fingerprint)
    write_model(tmp_path / "m.safetensors", model)
    (tmp_path / "lines.txt").write_text("the lamp\n")
    folders = []
    original = dataset.open_dataset

    def recording(folder):
        folders.append(folder.name)
        return original(folder)

    monkeypatch.setattr(dataset, "open_dataset", recording)
    return folders
