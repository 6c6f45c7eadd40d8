"""A model, its dataset and a text, for tests of commands."""

import pytest

from charnn.data import dataset
from charnn.data.splits import split_text
from charnn.model.model_file import ModelFile, write_model
from tests.tiny import random_tensors, tiny_config, written_dataset


@pytest.fixture
def opened(tmp_path, text, monkeypatch):
    """The folders of datasets that are opened, in a folder with a model and its dataset."""
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
