"""`charnn info` for datasets and models."""

import json

from charnn.cli import main
from charnn.display import humanize
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


def test_info_begins_with_a_headline(dataset, tmp_path, capfd) -> None:
    """The network, its dataset and its score; then the path and the rest."""
    shape = tiny_config(vocab_size=dataset.tokenizer.vocab_size)
    path = tmp_path / "m.safetensors"
    model = ModelFile(
        shape,
        dataset.tokenizer,
        0,
        random_tensors(shape),
        metrics={"val": {"bits_per_char": 1.9876, "coverage": 0.9}},
        training={"data": "lamp"},
    )
    write_model(path, model)
    assert main(["info", str(path)]) == 0
    shown = capfd.readouterr().out

    weights = humanize.compact(model.parameters)
    assert shown.splitlines()[0] == (
        f"LSTM 1×7, {weights} weights, {shape.vocab_size} char tokens, trained on lamp, "
        "1.988 bits/char (covers 90.0% of the characters)"
    )
    assert str(path) in shown
    assert shown.split("vocabulary\n")[1].splitlines()[0].endswith(" <unk>")
    assert "\ufffd" not in shown
    assert main(["info", str(dataset.folder)]) == 0
    first = capfd.readouterr().out.splitlines()[0]
    assert first.startswith(f"{shape.vocab_size} char tokens; train 1,9")
