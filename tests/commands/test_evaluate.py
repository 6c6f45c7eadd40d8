"""`charnn eval`: which datasets it opens, and records."""

import json
from pathlib import Path

import pytest

import charnn
from charnn import cli
from charnn.data.dataset import open_dataset
from charnn.model.model_file import ModelFile, write_model
from tests.tiny import random_tensors, tiny_config


@pytest.mark.parametrize("files", [[], ["lines.txt"]], ids=str)
def test_dataset_is_opened_once(files, opened) -> None:
    """Opening a dataset reads and hashes its files."""
    assert cli.main(["eval", "m.safetensors", *files, "--dynamic", "-q"]) == 0
    assert opened == ["lamp"]


def test_dataset_is_not_opened_for_a_file(opened) -> None:
    """Evaluating a file does not need the dataset."""
    assert cli.main(["eval", "m.safetensors", "lines.txt", "-q"]) == 0
    assert opened == []


def test_empty_and_skipped_files_are_named(opened, tmp_path, capfd) -> None:
    """An empty file adds nothing to the text; alone it is no text."""
    (tmp_path / "empty.txt").write_text("")
    assert cli.main(["eval", "-m", "m.safetensors", "lines.txt", "empty.txt"]) == 0
    assert "empty: empty.txt\n" in capfd.readouterr().err

    assert cli.main(["eval", "-m", "m.safetensors", "empty.txt"]) == 65
    assert "error: empty.txt: empty\n" in capfd.readouterr().err


@pytest.fixture
def names(tmp_path, monkeypatch):
    """A dataset of records, a model of them and a list of names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("anna\nbob\n\nemily ann\nx" * 12)
    assert cli.main(["prepare", "names.txt", "--lines", "-q"]) == 0
    dataset = open_dataset(tmp_path / "data" / "names")
    shape = tiny_config(vocab_size=dataset.tokenizer.vocab_size)
    model = ModelFile(
        shape,
        dataset.tokenizer,
        dataset.start_token,
        random_tensors(shape, scale=0.3),
        fingerprint=dataset.fingerprint,
        records=True,
    )
    write_model(tmp_path / "m.safetensors", model)
    return dataset


def evaluated(capfd, *arguments):
    assert cli.main(["eval", "m.safetensors", *arguments, "--json", "-q"]) == 0
    return json.loads(capfd.readouterr().out)


@pytest.mark.parametrize("files", [[], ["names.txt"]], ids=["split", "file"])
def test_records_are_evaluated_as_score_reads_lines(names, files, capfd) -> None:
    """Each line begins from a zero state; its newline is scored too. A file is read by lines."""
    found = evaluated(capfd, *files)
    text = Path("names.txt").read_text() + "\n" if files else names.text("val")
    model = charnn.load("m.safetensors")
    scores = [model.score(line + "\n") for line in text.split("\n")[:-1]]

    assert found["protocol"] == "records"
    assert found["tokens"] == sum(score.tokens for score in scores) == len(text)
    nats = sum(score.nats for score in scores)
    assert found["loss"] == pytest.approx(nats / len(text), rel=1e-5)


def test_dynamic_evaluation_of_records(names, capfd) -> None:
    """The same tokens are scored."""
    fixed, dynamic = evaluated(capfd), evaluated(capfd, "--dynamic")

    assert dynamic["protocol"] == "dynamic"
    assert dynamic["tokens"] == fixed["tokens"]
    assert dynamic["loss"] == pytest.approx(fixed["loss"], rel=0.1)


@pytest.mark.parametrize("option", ["--windows", "--streams"])
def test_records_have_no_windows_or_streams(names, option, capfd) -> None:
    """The state is reset at each record."""
    assert cli.main(["eval", "m.safetensors", option, "4"]) == 2
    assert "do not apply to a model of records" in capfd.readouterr().err
