"""Comparison of cells: numbers of weights, training in turns, verdicts from measurements."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.lab import cells
from charnn.lab.cells import Effort, Trial, config_of, count_weights
from charnn.model.language_model import LanguageModel
from charnn.training.loop import train

TINY = Effort(hidden_size=16, steps=20)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["rnn", "lstm", "gru"]), st.integers(1, 40), st.integers(1, 40))
def test_weights_are_those_of_the_network(cell, width, vocab_size) -> None:
    """G · H · (D + H + 1) in the layer, plus embedding and output layer."""
    shape = config_of(cell, width, vocab_size)
    layer = {"rnn": 1, "gru": 3, "lstm": 4}[cell] * width * (shape.embedding_dim + width + 1)
    outside = vocab_size * (shape.embedding_dim + width + 1)

    assert count_weights(shape) == layer + outside
    tensors = LanguageModel(shape).named_tensors().values()
    assert count_weights(shape) == sum(tensor.numel() for tensor in tensors)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["rnn", "gru"]), st.integers(1, 200), st.integers(1, 80))
def test_the_width_of_equal_weights_is_the_closest(cell, width, vocab_size) -> None:
    """No other width has a number of weights closer to that of the LSTM."""
    weights = count_weights(config_of("lstm", width, vocab_size))
    found = cells.width_of_equal_weights(cell, weights, vocab_size)
    differences = [
        abs(count_weights(config_of(cell, other, vocab_size)) - weights) for other in range(1, 700)
    ]
    assert differences[found - 1] == min(differences)


def test_losses_between_two_validations_are_interpolated() -> None:
    """Linearly in time."""
    trial = Trial("gru", 8, 100, losses=[(10, 1.0, 3.0), (20, 2.0, 2.0), (30, 3.0, 1.8)])
    assert trial.loss_after(1.5) == pytest.approx(2.5)
    assert trial.loss_after(2.5) == pytest.approx(1.9)
    assert (trial.seconds, trial.loss) == (3.0, 1.8)


def test_a_short_run_measures_all_networks(monkeypatch) -> None:
    """Training in turns gives the same loss as training alone."""
    monkeypatch.setattr(cells, "QUICK", TINY)
    monkeypatch.setattr(cells, "SAMPLED_TOKENS", 20)
    reports: dict[str, float] = {}
    finding = cells.run(seed=3, quick=True, tell=reports.__setitem__)

    trials = finding.data["trials"]
    assert [trial["cell"] for trial in trials] == ["lstm", "gru", "rnn", "gru", "rnn"]
    assert [trial["hidden_size"] for trial in trials[:3]] == [16] * 3
    for trial in trials[3:]:
        assert trial["weights"] == pytest.approx(trials[0]["weights"], rel=0.05)
    assert {trial["losses"][-1][0] for trial in trials} == {finding.data["equal_tokens"]}
    for trial in trials:
        assert trial["sampling"] > 0
        assert len(trial["losses"]) == cells.VALIDATIONS
        seconds = [value for _, value, _ in trial["losses"]]
        assert seconds == sorted(seconds)
        assert trial["training"] < seconds[-1] / finding.data["equal_tokens"] * 3
    assert list(reports) == [
        "1 of 2: training 5 networks in turns",
        "2 of 2: sampling from 5 networks in turns",
    ]

    book = cells.embedded_book()
    alone = cells._new_loop(book, Trial("gru", 16, 0), TINY, seed=3)
    for _ in train(alone):
        pass
    assert trials[1]["loss"] == pytest.approx(cells.validation_loss(book, alone), abs=1e-5)


def measured(**changes) -> list[Trial]:
    """Measurements that confirm the claim, except for `changes` of a trial."""
    figures = {
        "lstm": ("lstm", 128, 90, 8.0, 6.0, [2.0, 1.50]),
        "gru": ("gru", 128, 70, 6.0, 5.0, [2.0, 1.50]),
        "rnn": ("rnn", 128, 30, 6.0, 3.0, [2.0, 1.70]),
        "large_gru": ("gru", 150, 90, 8.0, 6.0, [2.0, 1.45]),
        "large_rnn": ("rnn", 255, 90, 8.0, 6.0, [2.0, 1.60]),
    }
    trials = []
    for name, (cell, width, weights, training, sampling, losses) in figures.items():
        validations = [
            (tokens, tokens * training, loss)
            for tokens, loss in zip((50, 100), losses, strict=True)
        ]
        trial = Trial(cell, width, weights, training, sampling, validations)
        trials.append(dataclasses.replace(trial, **changes.get(name, {})))
    return trials


def ending_at(loss) -> dict:
    """Return the change of a trial to another final loss."""
    return {"losses": [(50, 300.0, 2.0), (100, 600.0, loss)]}


@pytest.mark.parametrize(
    ("changes", "contradicted"),
    [
        ({}, None),
        ({"gru": {"weights": 95}}, "A GRU is not cheaper"),
        ({"gru": {"training": 9.0}}, "A GRU is not cheaper"),
        ({"gru": {"sampling": 6.5}}, "A GRU is not cheaper"),
        (
            {"gru": ending_at(1.6)},
            "a GRU of equal width is not as good as the LSTM, because its loss is 1.6",
        ),
        (
            {"large_gru": {"losses": [(50, 900.0, 2.0), (100, 1800.0, 1.4)]}},
            "a GRU with as many weights is not as good",
        ),
        ({"rnn": ending_at(1.4)}, "an RNN of equal width is not worse"),
        (
            {"large_rnn": ending_at(1.4)},
            "an RNN with as many weights is not worse",
        ),
    ],
)
def test_each_part_of_the_claim_depends_on_its_measurements(changes, contradicted) -> None:
    """A wrong measurement contradicts one part."""
    finding = cells.finding_of(measured(**changes))

    assert finding.held is (contradicted is None), finding.verdict
    assert len(finding.checks) == 5
    parts = [str(check) for check in finding.checks if not check.confirmed]
    assert [contradicted in part for part in parts] == [True] * bool(contradicted)
    assert np.isclose(finding.data["equal_seconds"], min(t.seconds for t in measured(**changes)))
