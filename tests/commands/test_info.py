"""`charnn info` for datasets and models."""

import json

from charnn.cli import main
from charnn.model import model_file
from charnn.model.model_file import ModelFile, write_model
from tests.tiny import random_tensors, tiny_config


def test_info_has_the_format_version(dataset, tmp_path, capfd) -> None:
    """For datasets and model files, as JSON and as text."""
    shape = tiny_config(vocab_size=dataset.tokenizer.vocab_size)
    model = tmp_path / "m.safetensors"
    write_model(model, ModelFile(shape, dataset.tokenizer, 0, random_tensors(shape)))
    for kind, path in (("dataset", dataset.folder), ("model", model)):
        assert main(["info", str(path), "--json"]) == 0
        described = json.loads(capfd.readouterr().out)
        assert (described["kind"], described["format"]) == (kind, 1)
        assert main(["info", str(path)]) == 0
        assert "\nformat" in capfd.readouterr().out


def test_format_version_is_that_of_the_file(dataset, tmp_path, capfd, monkeypatch) -> None:
    """It may differ from the version that charnn writes."""
    shape = tiny_config(vocab_size=dataset.tokenizer.vocab_size)
    model = tmp_path / "m.safetensors"
    with monkeypatch.context() as other:
        other.setattr(model_file, "FORMAT_VERSION", 7)
        write_model(model, ModelFile(shape, dataset.tokenizer, 0, random_tensors(shape)))
        assert main(["info", str(model), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["format"] == 7
