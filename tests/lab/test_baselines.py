"""Bits per character of simple models, hidden Markov models and runs; the verdict."""

import dataclasses
import json
import math

import numpy as np
import pytest

from charnn import cli
from charnn.data.splits import split_text
from charnn.errors import DataError
from charnn.evaluation.evaluate import evaluate_carried
from charnn.evaluation.metrics import TokenLengths
from charnn.lab import baselines
from charnn.lab.baselines import BaselineResult, Effort, Texts
from charnn.model.language_model import with_weights
from charnn.model.model_file import ModelFile, write_model
from charnn.tokenizers.char import CharTokenizer
from tests.tiny import random_tensors, tiny_config, written_dataset

TINY = Effort(train_tokens=5000, states=(2, 4), blocks=40)


@pytest.fixture
def dataset(tmp_path, text):
    """The text, prepared in tmp_path/data/lamp."""
    return written_dataset(tmp_path / "data" / "lamp", split_text(text, 0.1, 0))


def add_run(folder, dataset, **changes):
    """A run whose model was never trained; the model."""
    shape = tiny_config("gru", vocab_size=dataset.tokenizer.vocab_size)
    model = ModelFile(
        shape, dataset.tokenizer, 0, random_tensors(shape), fingerprint=dataset.fingerprint
    )
    folder.mkdir(parents=True)
    write_model(folder / "model.safetensors", dataclasses.replace(model, **changes))
    return model


def silent(line) -> None:
    """Tells nobody."""


def texts_of(train: str, val: str) -> Texts:
    """Characters, those of `train` being the vocabulary."""
    characters = CharTokenizer.build(train)
    ids = [characters.encode(part).ids for part in (train, val)]
    return Texts(*ids, characters.pieces, TokenLengths.of(characters))


def test_a_text_that_repeats_itself_costs_nothing_to_who_remembers_a_letter() -> None:
    """And log2 3 bits to who remembers none; n goes up until it costs more."""
    texts = texts_of("abc" * 2000, "abc" * 200)
    costs = {rung.kind: rung.bits_per_char for rung in baselines.score_simple_models(texts, silent)}
    assert costs["uniform"] == pytest.approx(math.log2(4))  # <unk> is a token as well
    assert costs["unigram"] == pytest.approx(math.log2(3), abs=1e-3)
    assert costs["xz"] < 0.2

    grams = list(baselines.score_n_grams(texts, silent))
    assert [rung.size for rung in grams] == [*range(2, len(grams) + 2)]
    falling = [rung.bits_per_char for rung in grams[:-1]]
    assert falling == sorted(falling, reverse=True)
    assert grams[0].bits_per_char < 0.01

    (three,) = baselines.score_hmms(texts, Effort(6000, (3,), 60), 2, silent)
    assert three.bits_per_char < 0.1


def test_every_kind_of_model_is_scored(dataset, tmp_path, monkeypatch) -> None:
    """The runs among them are those of this dataset, scored in one carried pass."""
    monkeypatch.setattr(baselines, "QUICK", TINY)
    runs = tmp_path / "runs"
    model = add_run(runs / "mine", dataset)
    add_run(runs / "other", dataset, fingerprint="another dataset's")
    (runs / "damaged").mkdir()
    (runs / "damaged" / "model.safetensors").write_bytes(b"no model")
    lines = []
    finding = baselines.run(dataset, runs, seed=1, quick=True, tell=lines.append)

    rungs = {rung["name"]: rung for rung in finding.data["rungs"]}
    kinds = {rung["kind"] for rung in rungs.values()}
    assert kinds == {"uniform", "unigram", "xz", "n-gram", "hmm", "run"}
    assert [name for name, rung in rungs.items() if rung["kind"] == "run"] == ["mine"]
    network = with_weights(model)
    score = evaluate_carried(network, dataset.split("val"), TokenLengths.of(dataset.tokenizer), 0)
    assert rungs["mine"]["bits_per_char"] == pytest.approx(score.bits_per_char)
    costs = [rung["bits_per_char"] for rung in rungs.values()]
    assert costs == sorted(costs, reverse=True)
    assert [row[0] for row in finding.tables[0].rows] == list(rungs)
    assert finding.data["scored"] == len(dataset.split("val"))
    assert any("mine" in line for line in lines)
    assert "NOT so here: the network mine pays least" in finding.verdict


def test_tokens_outside_the_vocabulary_cost_nothing() -> None:
    """Neither bits nor characters."""
    plain, unknown = texts_of("abca" * 50, "abcabc"), texts_of("abca" * 50, "abczabc")
    assert (unknown.scored_chars, len(unknown.known), len(unknown.val)) == (6, 6, 7)
    for texts in (plain, unknown):
        uniform = baselines.score_simple_models(texts, silent)[0]
        assert uniform.bits_per_char == pytest.approx(2)


def test_a_split_of_nothing_but_unknown_tokens_is_refused(dataset, tmp_path) -> None:
    """There would be nothing to divide by."""
    unknown = dataset.tokenizer.unk_id
    assert unknown is not None
    splits = {**dataset.splits, "val": np.full(9, unknown, np.uint8)}
    with pytest.raises(DataError, match="no character in the vocabulary"):
        baselines.run(
            dataclasses.replace(dataset, splits=splits), tmp_path, seed=1, quick=True, tell=silent
        )


def measured(**changes) -> list[BaselineResult]:
    """Costs as the claim has them, but for `changes`."""
    costs = {
        "uniform": ("uniform", 0, 6.0),
        "unigram": ("unigram", 0, 4.5),
        "xz": ("xz", 0, 2.4),
        "two": ("n-gram", 2, 3.4),
        "three": ("n-gram", 3, 2.0),
        "four": ("n-gram", 4, 2.1),
        "small": ("hmm", 8, 3.9),
        "large": ("hmm", 32, 2.9),
        "net": ("run", 0, 1.8),
    }
    return [
        BaselineResult(kind, name, changes.get(name, cost), "", size)
        for name, (kind, size, cost) in costs.items()
        if changes.get(name, cost) is not None
    ]


@pytest.mark.parametrize(
    ("changes", "contradicted"),
    [
        ({}, None),
        ({"net": None}, None),
        ({"two": 4.6}, "a character costs"),
        ({"small": 2.8}, "a hidden Markov model falls"),
        ({"large": 3.5}, "with 32 of them"),
        ({"large": 1.9}, "it does not reach"),
        ({"net": 2.2}, "the network net pays least"),
    ],
)
def test_the_verdict_follows_from_the_figures(changes, contradicted) -> None:
    """One cost that does not fit, and the claim did not hold; the sentence says which part."""
    texts = dataclasses.replace(texts_of("ab", "ab"), pieces=[b"x"] * 64)
    finding = baselines.finding_of(measured(**changes), texts, "lamp")

    assert finding.held is (contradicted is None)
    parts = [part for part in finding.verdict.split("; ") if part.startswith("NOT so here")]
    assert [contradicted in part for part in parts] == [True] * bool(contradicted)
    assert ("net" in finding.verdict) is (changes.get("net", 0) is not None)


def test_the_command_takes_a_dataset_and_finds_its_runs(
    dataset, tmp_path, monkeypatch, capfd
) -> None:
    """By name, in the folders given; a dataset that is not there is said to be missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(baselines, "QUICK", TINY)
    add_run(tmp_path / "runs" / "mine", dataset)

    assert cli.main(["lab", "baselines", "lamp", "--quick", "--json", "-q", "-o", "b.svg"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed["experiment"] == "baselines"
    assert "mine" in [rung["name"] for rung in printed["rungs"]]
    assert (tmp_path / "b.svg").stat().st_size > 1000

    assert cli.main(["lab", "baselines", "lamb", "--quick"]) == 2
    assert "did you mean lamp?" in capfd.readouterr().err
