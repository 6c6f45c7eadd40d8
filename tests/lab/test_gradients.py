"""Norms of gradients at known gains, clipped steps, and the results of measurements."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn import cli
from charnn.data.splits import split_text
from charnn.errors import DataError
from charnn.lab import gradient_clipping, gradient_flow, gradients, trained_gradients
from charnn.lab.gradient_check import GradientErrors
from charnn.lab.gradient_clipping import ClippingResult
from charnn.lab.gradients import GAINS, VARIANTS, Effort, GradientNorms
from charnn.lab.small_models import embedded_book
from charnn.lab.trained_gradients import Subject
from charnn.model.model_file import ModelFile, write_model
from tests.tiny import random_tensors, tiny_config, written_dataset

TINY = Effort(hidden_size=48, rows=8, max_lag=32, steps=3)
CELLS = ["rnn", "lstm", "gru"]


def silent(text, fraction) -> None:
    """Report no progress."""


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 3), st.integers(1, 12), st.integers(1, 10), st.integers(0, 1000))
def test_at_h_0_a_gradient_is_multiplied_by_the_spectral_norm(gain, width, tokens, seed) -> None:
    """At every token: below 1 it vanishes, above 1 it explodes."""
    model = gradients.new_model("rnn", width, seed)
    gradient_flow.scale_recurrent(model, gain)
    gradient_flow.zero_inputs(model)
    text = torch.zeros(2, 2 * tokens + 1, dtype=torch.long)
    norms = gradient_flow.gradient_norms(model, text, tokens)["h_0"]

    assert gradient_flow.spectral_norms(model)["W_hh_0"] == pytest.approx(gain)
    np.testing.assert_allclose(norms, norms[0] * gain ** np.arange(tokens), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 0.95), st.integers(2, 12), st.integers(0, 1000))
def test_below_a_spectral_norm_of_1_gradients_vanish_for_any_text(gain, width, seed) -> None:
    """The norm at lag k + 1 is at most `gain` times that at lag k."""
    model = gradients.new_model("rnn", width, seed)
    gradient_flow.scale_recurrent(model, gain)
    text = torch.randint(32, (1, 21))
    norms = gradient_flow.gradient_norms(model, text, 10)["h_0"]
    for after, before in itertools.pairwise(norms):
        assert before <= gain * after * (1 + 1e-6)  # orthogonal in float32


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_norms_equal_those_of_autograd_for_one_state(make_model, cell, layers) -> None:
    """With the state k tokens earlier as the input of one forward pass."""
    model = make_model(cell, layers).double()
    tokens = torch.randint(11, (3, 10), generator=torch.Generator().manual_seed(4))
    inputs, last = tokens[:, :-1], tokens[:, -1]
    found = gradient_flow.gradient_norms(model, tokens, 4)
    assert list(found) == gradient_flow.state_names(model)
    for k in (1, 2, 4):
        with torch.no_grad():
            _, state = model(inputs[:, : 9 - k], model.initial_state(3))
        state = tuple(part.clone().requires_grad_() for part in state)
        logits, _ = model(inputs[:, 9 - k :], state)
        loss = torch.nn.functional.cross_entropy(logits[:, -1], last, reduction="sum")
        for name, gradient in zip(found, torch.autograd.grad(loss, state), strict=True):
            expected = gradient.norm(dim=1).log().mean().exp()
            assert found[name][k - 1] == pytest.approx(float(expected))


def test_the_factor_is_the_mean_ratio_of_the_second_half() -> None:
    """It is 0 if a gradient is 0."""
    assert gradient_flow.factor_per_token([9.0, 7.0, 8.0, 4.0, 2.0, 1.0]) == pytest.approx(0.5)
    assert gradient_flow.factor_per_token([4.0, 2.0]) == pytest.approx(0.5)
    assert gradient_flow.factor_per_token([1.0, 0.5, 0.0]) == 0
    assert gradient_flow.factor_per_token([1.0]) == 0


@pytest.mark.parametrize(("cell", "gains"), [("lstm", (0.0,)), ("gru", (0.5, 2.0))])
def test_open_gates_keep_the_gradient_constant(cell, gains) -> None:
    """The gradient of c in an LSTM, with W_hh = 0, and of h in a GRU."""
    for gain in gains:
        model = gradients.new_model(cell, 16, seed=1)
        gradient_flow.scale_recurrent(model, gain)
        gradient_flow.open_gates(model, 20.0)
        gradient_flow.zero_inputs(model)
        norms = gradient_flow.gradient_norms(model, torch.zeros(1, 41, dtype=torch.long), 20)
        assert gradient_flow.factor_per_token(
            norms["c_0" if cell == "lstm" else "h_0"]
        ) == pytest.approx(1, abs=1e-6)


def test_clipping_bounds_a_step() -> None:
    """By lr · limit; without clipping a step is lr times the gradient."""
    book = embedded_book()
    clipped, free = (
        gradient_clipping.measure_steps(book, limit, 24, 3, seed=1) for limit in (1.0, 0.0)
    )
    assert clipped.step <= gradient_clipping.LR * 1.001
    assert clipped.norm > 1
    assert free.step == pytest.approx(gradient_clipping.LR * free.norm, rel=1e-3)
    assert free.step > gradient_clipping.LR


def measured(**changes):
    """Measurements that support the claim, except for `changes` of the factors of variants."""
    factors = {
        "RNN, h = 0": GAINS,
        "RNN": [0.9 * gain for gain in GAINS],
        "LSTM": [0.9, 0.9, 1.0, 1.0, 1.0],
        "GRU": [0.9, 0.9, 1.0, 1.0, 1.0],
        "LSTM, f open": [1.0] * 5,
        "GRU, z open": [1.0] * 5,
        **changes,
    }
    return [
        GradientNorms(variant.name, gain, [factor**k for k in range(5)])
        for variant in VARIANTS
        for gain, factor in zip(GAINS, factors[variant.name], strict=True)
    ]


RIGHT, WRONG = GradientErrors("rnn", 9, 1e-15, 1e-9), GradientErrors("no T", 9, 1.5, 1.5)
CLIPPED, FREE = ClippingResult(1.0, 300.0, 0.1), ClippingResult(0.0, 200.0, 20.0)
EXCHANGED = [1 / gain for gain in GAINS]


@pytest.mark.parametrize(
    ("errors", "changes", "clipped", "contradicted"),
    [
        ([RIGHT, WRONG], {}, [CLIPPED, FREE], []),
        ([WRONG, WRONG], {}, [CLIPPED, FREE], ["Gradients by hand"]),
        ([RIGHT, RIGHT], {}, [CLIPPED, FREE], ["Gradients by hand"]),
        (
            [RIGHT, WRONG],
            {"RNN, h = 0": EXCHANGED, "RNN": [0.9 * factor for factor in EXCHANGED]},
            [CLIPPED, FREE],
            ["With h = 0", "While an RNN reads"],
        ),
        (
            [RIGHT, WRONG],
            {"RNN": [1.1 * gain for gain in GAINS]},
            [CLIPPED, FREE],
            ["While an RNN reads"],
        ),
        ([RIGHT, WRONG], {"GRU": GAINS}, [CLIPPED, FREE], ["Gates make"]),
        ([RIGHT, WRONG], {"GRU, z open": [0.9] * 5}, [CLIPPED, FREE], ["Gates make"]),
        ([RIGHT, WRONG], {}, [ClippingResult(1.0, 300.0, 0.2), FREE], ["Clipping at norm 1"]),
    ],
)
def test_each_part_of_the_claim_depends_on_its_measurements(
    errors, changes, clipped, contradicted
) -> None:
    """A wrong measurement contradicts the parts that use it."""
    finding = gradients.finding_of(errors, measured(**changes), clipped)

    assert finding.held is (not contradicted)
    assert len(finding.checks) == 5
    parts = [check.text for check in finding.checks if not check.confirmed]
    assert len(parts) == len(contradicted)
    for part, beginning in zip(parts, contradicted, strict=True):
        assert part.startswith(beginning)


def test_a_short_run_confirms_the_claim(monkeypatch) -> None:
    """Few texts and tokens are enough; the factors per token are in the first table."""
    monkeypatch.setattr(gradients, "QUICK", TINY)
    reports: list[str] = []
    finding = gradients.run(
        None, seed=1, quick=True, tell=lambda text, fraction: reports.append(text)
    )

    assert finding.held, finding.verdict
    assert [row[0] for row in finding.tables[0].rows] == [f"{gain:g}" for gain in GAINS]
    assert finding.tables[-1].header[2] == "from autograd"
    assert reports[-1] == "33 of 33: gradient descent without clipping"
    for found in finding.data["norms"]:
        if found["variant"] == "RNN, h = 0":
            assert found["factor"] == pytest.approx(found["gain"])


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
