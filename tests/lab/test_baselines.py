"""Bits per character of simple models, hidden Markov models and runs, and the results."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from charnn import cli
from charnn.data.splits import split_text
from charnn.errors import DataError
from charnn.evaluation.evaluate import evaluate_carried
from charnn.evaluation.metrics import TokenLengths
from charnn.lab import baselines
from charnn.lab.baselines import BaselineResult, Effort, Texts
from charnn.lab.experiment import Progress
from charnn.model.language_model import with_weights
from charnn.model.model_file import ModelFile, write_model
from tests.tiny import make_dataset, random_tensors, tiny_config, written_dataset

TINY = Effort(train_tokens=5000, states=(2, 4), blocks=40)


@pytest.fixture
def dataset(tmp_path, text):
    """Write the text as a dataset in tmp_path/data/lamp."""
    return written_dataset(tmp_path / "data" / "lamp", split_text(text, 0.1, 0))


def add_run(folder, dataset, **changes):
    """Write a run with an untrained model; return the model."""
    shape = tiny_config("gru", vocab_size=dataset.tokenizer.vocab_size)
    model = ModelFile(
        shape, dataset.tokenizer, 0, random_tensors(shape), fingerprint=dataset.fingerprint
    )
    folder.mkdir(parents=True)
    write_model(folder / "model.safetensors", dataclasses.replace(model, **changes))
    return model


def new_progress(parts=1, tell=lambda text, fraction: None) -> Progress:
    """Return the progress of an experiment with parts of equal cost."""
    return Progress(tell, [1] * parts)


def texts_of(train: str, val: str) -> Texts:
    """Return texts in characters; the vocabulary is that of `train`."""
    dataset = make_dataset(Path("none"), {"train": train, "val": val})
    lengths = TokenLengths.of(dataset.tokenizer, dataset.unknown_cost("val"))
    ids = [dataset.split(name) for name in ("train", "val")]
    return Texts(*ids, dataset.tokenizer.pieces, lengths)


def test_a_periodic_text_costs_nothing_with_one_character_of_context() -> None:
    """Without context it costs log2 3 bits; n increases until the cost increases."""
    texts, progress = texts_of("abc" * 2000, "abc" * 200), new_progress(3)
    results = baselines.score_simple_models(texts, progress)
    costs = {result.kind: result.bits_per_char for result in results}
    assert costs["uniform"] == pytest.approx(math.log2(4))  # <unk> is a token as well
    assert costs["unigram"] == pytest.approx(math.log2(3), abs=1e-3)
    assert costs["xz"] < 0.2

    grams = list(baselines.score_n_grams(texts, progress))
    assert [result.size for result in grams] == [*range(2, len(grams) + 2)]
    falling = [result.bits_per_char for result in grams[:-1]]
    assert falling == sorted(falling, reverse=True)
    assert grams[0].bits_per_char < 0.01

    (three,) = baselines.score_hmms(texts, Effort(6000, (3,), 60), 2, progress)
    assert three.bits_per_char < 0.1


def test_every_kind_of_model_is_scored(dataset, tmp_path, monkeypatch) -> None:
    """Runs of other datasets and damaged ones are skipped; runs are scored with carried state."""
    monkeypatch.setattr(baselines, "QUICK", TINY)
    runs = tmp_path / "runs"
    model = add_run(runs / "mine", dataset)
    add_run(runs / "other", dataset, fingerprint="another dataset's")
    (runs / "damaged").mkdir()
    (runs / "damaged" / "model.safetensors").write_bytes(b"no model")
    reports: dict[str, float] = {}
    finding = baselines.run(dataset, runs, seed=1, quick=True, tell=reports.__setitem__)

    models = {model["name"]: model for model in finding.data["models"]}
    kinds = {model["kind"] for model in models.values()}
    assert kinds == {"uniform", "unigram", "xz", "n-gram", "hmm", "run"}
    assert [name for name, model in models.items() if model["kind"] == "run"] == ["mine"]
    network = with_weights(model)
    score = evaluate_carried(network, dataset.split("val"), TokenLengths.of(dataset.tokenizer), 0)
    assert models["mine"]["bits_per_char"] == pytest.approx(score.bits_per_char)
    costs = [model["bits_per_char"] for model in models.values()]
    assert costs == sorted(costs, reverse=True)
    assert [row[0] for row in finding.tables[0].rows] == list(models)
    assert finding.data["val_tokens"] == len(dataset.split("val"))
    assert list(reports)[-2:] == ["6 of 7: run mine", "7 of 7: run other"]
    assert (
        "Contradicted: A trained network is not the best model, because mine needs"
        in finding.verdict
    )


@pytest.mark.parametrize(
    ("cell", "layers", "state"),
    [("lstm", 1, "h and c, 7 units (LSTM"), ("gru", 2, "h, 2 × 7 units (GRU")],
)
def test_the_state_of_a_network_is_named_by_its_hidden_size(dataset, cell, layers, state) -> None:
    """An LSTM with 7 units does not have 14."""
    shape = tiny_config(cell, layers, vocab_size=dataset.tokenizer.vocab_size)
    model = ModelFile(shape, dataset.tokenizer, 0, random_tensors(shape))
    assert shape.hidden_size == 7
    assert baselines._state_of(model).startswith(state)


def test_tokens_outside_the_vocabulary_are_charged_to_all_characters() -> None:
    """They are not among the characters that bits per character cover."""
    plain, unknown = texts_of("abca" * 50, "abcabc"), texts_of("abca" * 50, "abczabc")
    assert (unknown.free.chars, unknown.free.unknown, unknown.free.coverage) == (6, 1, 6 / 7)
    for texts in (plain, unknown):
        uniform = baselines.score_simple_models(texts, new_progress())[0]
        assert uniform.bits_per_char == pytest.approx(2)
    # "z" has p(<unk>) = half an occurrence of 200, and is spelled in 8 bits
    charged = 6 * (2 - math.log2(1 - 1 / 400)) + math.log2(400) + 8
    assert unknown.bits_per_char_all(2.0) == pytest.approx(charged / 7)


def test_the_table_says_which_characters_are_covered() -> None:
    """With a column for all of them, and in JSON."""
    texts = texts_of("abca" * 50, "abczabc")
    finding = baselines.finding_of(measured(), texts, "lamp")
    (table,) = finding.tables

    assert table.title.endswith("bits/char (covers 85.7% of the characters)")
    assert table.header[1:3] == ["bits/char", "of all characters"]
    assert finding.data["coverage"] == 6 / 7
    for row, model in zip(table.rows, finding.data["models"], strict=True):
        assert float(row[2]) == pytest.approx(model["bits_per_char_all"], abs=1e-3)
    plain = baselines.finding_of(measured(), texts_of("ab", "ab"), "lamp")
    assert plain.tables[0].header == ["model", "bits/char", "keeps of the preceding text"]


def test_a_split_of_unknown_tokens_only_is_refused(dataset, tmp_path) -> None:
    """Bits per character are not defined for 0 characters."""
    unknown = dataset.tokenizer.unk_id
    assert unknown is not None
    splits = {**dataset.splits, "val": np.full(9, unknown, np.uint8)}
    with pytest.raises(DataError, match="no character in the vocabulary"):
        baselines.run(
            dataclasses.replace(dataset, splits=splits),
            tmp_path,
            seed=1,
            quick=True,
            tell=lambda text, fraction: None,
        )


def measured(**changes) -> list[BaselineResult]:
    """Costs that confirm the claim, except for `changes`; None removes a model."""
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
        ({"two": 4.6}, "Models with more context do not need"),
        ({"small": 2.8}, "Hidden Markov models with more states do not"),
        ({"large": 3.5}, "A hidden Markov model with 32 states is not better"),
        ({"large": 1.9}, "Hidden Markov models are not worse"),
        (
            {"net": 2.2},
            "A trained network is not the best model, because net needs 2.200 bits, 10% more than "
            "the three (2.000)",
        ),
        ({"xz": 1.7}, "A trained network is not the best model, because net needs 1.800 bits, 6%"),
    ],
)
def test_each_part_of_the_claim_depends_on_its_measurements(changes, contradicted) -> None:
    """A wrong cost contradicts one part; a higher cost is "more", never a negative "less"."""
    texts = dataclasses.replace(texts_of("ab", "ab"), pieces=[b"x"] * 64)
    finding = baselines.finding_of(measured(**changes), texts, "lamp")

    assert finding.held is (contradicted is None)
    parts = [str(check) for check in finding.checks if not check.confirmed]
    assert [part.startswith(f"Contradicted: {contradicted}") for part in parts] == (
        [True] * bool(contradicted)
    )
    assert 4 <= len(finding.checks) <= 5
    assert not re.search(r"[-−]\d", finding.verdict.replace("2-gram", ""))
    has_run = changes.get("net", 0) is not None
    assert ("net needs" in finding.verdict) is has_run
    assert ("Train one with charnn train" in finding.experiment.advice) is not has_run


def test_the_command_takes_a_dataset_and_finds_its_runs(
    dataset, tmp_path, monkeypatch, capfd
) -> None:
    """By name, in the given folders; an unknown name is an error with a suggestion."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(baselines, "QUICK", TINY)
    add_run(tmp_path / "runs" / "mine", dataset)

    assert cli.main(["lab", "baselines", "lamp", "--quick", "--json", "-q", "-o", "b.svg"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed["experiment"] == "baselines"
    assert "mine" in [model["name"] for model in printed["models"]]
    assert (tmp_path / "b.svg").stat().st_size > 1000

    assert cli.main(["lab", "baselines", "lamb", "--quick"]) == 2
    assert "did you mean lamp?" in capfd.readouterr().err
