"""Costs with attached and detached state, and the error of truncated gradients."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from charnn.data.samplers import SequentialSampler
from charnn.lab import truncation
from charnn.lab.truncation import Cost, Effort, TruncatedGradient
from charnn.model.loss import mean_nats

CELLS = ["rnn", "lstm", "gru"]
EFFORT = Effort(max_bytes=10**6, steps=1)


@pytest.mark.parametrize("cell", CELLS)
def test_detaching_keeps_the_cost_of_batches_constant(make_model, ids, cell) -> None:
    """Operations and bytes are equal in all batches; with attached state they grow."""
    cut, kept = (
        [
            (cost.operations, cost.bytes)
            for cost in itertools.islice(
                truncation.batch_costs(
                    make_model(cell), SequentialSampler(ids, 16, 5), 10**9, detached=detached
                ),
                6,
            )
        ]
        for detached in (True, False)
    )
    assert len(set(cut)) == 1
    assert kept[0] == cut[0]
    for before, after in itertools.pairwise(kept):
        assert after[0] > before[0]
        assert after[1] > before[1]


def test_batches_with_attached_state_end_at_the_memory_limit(make_model, ids) -> None:
    """The first batch whose graph is larger is the last."""
    sampler = SequentialSampler(ids, 16, 5)
    kept = list(truncation.batch_costs(make_model("rnn"), sampler, 200_000, detached=False))
    assert 2 < len(kept) < 200
    assert kept[-1].bytes >= 200_000 > kept[-2].bytes


@pytest.mark.parametrize("cell", CELLS)
def test_truncated_gradients_equal_sums_over_windows(make_model, cell) -> None:
    """Each window begins from a detached state; one window of the whole text gives all of it."""
    model = make_model(cell)
    tokens = torch.from_numpy(np.random.default_rng(2).integers(11, size=(4, 11)))
    weight = model.recurrent_layers()[0].weight_hh
    logits, _ = model(tokens[:, :-1], model.initial_state(4))
    full = torch.autograd.grad(mean_nats(logits, tokens[:, 1:]), weight)[0]
    expected = torch.zeros_like(full)
    for begin, end in [(0, 3), (3, 6), (6, 9), (9, 10)]:
        with torch.no_grad():
            state = model(tokens[:, :begin], model.initial_state(4))[1] if begin else None
        logits, _ = model(tokens[:, begin:end], state or model.initial_state(4))
        loss = mean_nats(logits, tokens[:, begin + 1 : end + 1])
        expected += torch.autograd.grad(loss, weight)[0] * (end - begin) / 10

    torch.testing.assert_close(truncation.gradient(model, tokens, 10)[0], full)
    torch.testing.assert_close(truncation.gradient(model, tokens, 3)[0], expected)
    results = truncation.truncated_gradients(model, tokens, (1, 3, 10))
    assert [result.bptt for result in results] == [1, 3, 10]
    assert results[-1].cosine == pytest.approx(1)
    assert results[0].bytes < results[1].bytes < results[2].bytes


def measured(**changes):
    """Measurements that support the claim, except for `changes`."""
    attached = [Cost(100 * i, 1000 * i, 0.001 * i) for i in range(1, 41)]
    detached = [Cost(100, 1000, 0.001)] * 40
    gradients = [
        TruncatedGradient(cell, n, cosine, 1000 * n)
        for cell in CELLS
        for n, cosine in [(1, 0.8), (16, 0.99), (256, 1.0)]
    ]
    return {"attached": attached, "detached": detached, "gradients": gradients, **changes}


GROWING = [Cost(100 * i, 1000, 0.001) for i in range(1, 41)]
EXACT = [dataclasses.replace(g, cosine=1 - 1e-5) for g in measured()["gradients"]]


@pytest.mark.parametrize(
    ("changes", "contradicted"),
    [
        ({}, None),
        (
            {"attached": [Cost(100, 1000, 0.001)] * 40},
            "With attached state, memory and time do not grow",
        ),
        ({"detached": GROWING}, "With detached state, the graph is not of"),
        ({"gradients": EXACT}, "Truncated gradients do not come closer"),
    ],
)
def test_each_part_of_the_claim_depends_on_its_measurements(changes, contradicted) -> None:
    """A wrong measurement contradicts one part."""
    finding = truncation.finding_of(**measured(**changes), effort=EFFORT)

    assert finding.held is (contradicted is None)
    assert len(finding.checks) == 4
    parts = [str(check) for check in finding.checks if not check.confirmed]
    assert [contradicted in part for part in parts] == [True] * bool(contradicted)


def test_a_short_run_measures_costs_and_cosines(monkeypatch) -> None:
    """With small graphs and few steps; progress numbers five parts."""
    monkeypatch.setattr(truncation, "QUICK", Effort(max_bytes=8_000_000, steps=5))
    reports: dict[str, float] = {}
    finding = truncation.run(seed=1, quick=True, tell=reports.__setitem__)

    assert len(reports) == 5
    assert all(text.startswith(f"{i} of 5: ") for i, text in enumerate(reports, 1))

    attached, detached = finding.data["attached"], finding.data["detached"]
    assert len(attached) == len(detached) > 5
    assert attached[-1]["bytes"] > 5 * detached[-1]["bytes"]
    cosines = {(f["cell"], f["bptt"]): f["cosine"] for f in finding.data["gradients"]}
    for cell in CELLS:
        assert cosines[cell, 1] < cosines[cell, 16] < cosines[cell, 256] + 1e-9
