"""Gradients of a trained model on its text."""

import dataclasses
import json

import numpy as np
import pytest

from charnn import cli
from charnn.data.splits import split_text
from charnn.errors import DataError
from charnn.lab import trained_gradients
from charnn.lab.trained_gradients import Subject
from charnn.model.model_file import ModelFile, write_model
from tests.tiny import random_tensors, tiny_config, written_dataset


def silent(text, fraction) -> None:
    """Report no progress."""


@pytest.fixture
def subject(tmp_path, text):
    """Write a model with random weights and two layers, and its dataset, in tmp_path."""
    parts = split_text(text, 0.2, 0)
    dataset = written_dataset(tmp_path / "data" / "lamp", parts)
    shape = tiny_config("lstm", 2, vocab_size=dataset.tokenizer.vocab_size)
    tensors = random_tensors(shape, scale=0.3)
    model = ModelFile(shape, dataset.tokenizer, 0, tensors, fingerprint=dataset.fingerprint)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    write_model(tmp_path / "runs" / "mine" / "model.safetensors", model)
    return Subject(model, dataset.split("val"), "mine")


def test_a_trained_model_is_examined_on_its_text(subject) -> None:
    """Norms for each part of its state; spectral norms of each gate equal those of NumPy."""
    finding = trained_gradients.examine(subject, seed=1, tell=silent)

    assert finding.data["gradient_checks"][0]["autograd"] < 1e-9
    assert list(finding.data["norms"]) == ["h_0", "c_0", "h_1", "c_1"]
    assert {len(norms) for norms in finding.data["norms"].values()} == {64}
    forget = subject.model.tensors["layers.1.weight_hh"][7:14].astype(np.float64)
    norm = np.linalg.svd(forget, compute_uv=False).max()
    assert finding.data["spectral_norms"]["W_hf_1"] == pytest.approx(norm)
    norms = finding.data["norms"]["h_1"]
    assert finding.held is (norms[-1] < norms[0])
    assert "mine" in finding.experiment.question


def test_the_largest_lag_is_half_of_a_short_text(subject) -> None:
    """A text of less than 17 tokens is refused."""
    short = dataclasses.replace(subject, tokens=subject.tokens[:41])
    finding = trained_gradients.examine(short, seed=1, tell=silent)
    assert {len(norms) for norms in finding.data["norms"].values()} == {20}
    lags = [row[0] for row in finding.tables[0].rows]
    assert lags == ["1", "2", "4", "8", "16", "× per token"]
    with pytest.raises(DataError, match="the text of mine is too short: it needs 17 tokens"):
        trained_gradients.examine(
            dataclasses.replace(subject, tokens=subject.tokens[:16]), seed=1, tell=silent
        )


def test_the_command_finds_a_model_and_its_text(subject, tmp_path, monkeypatch, capfd) -> None:
    """By the name of its run; a missing dataset is an error."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab", "gradients", "mine", "--json", "-q", "-o", "g.svg"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert (printed["experiment"], printed["model"]) == ("gradients", "mine")
    assert (tmp_path / "g.svg").stat().st_size > 1000

    assert cli.main(["lab", "gradients", "mine", "--data-dir", "elsewhere"]) == 65
    assert "the dataset that this model was trained on" in capfd.readouterr().err
