"""The verdict on vanishing and exploding gradients, from measurements and from a short run."""

import pytest

from charnn.lab import gradients
from charnn.lab.gradient_check import GradientErrors
from charnn.lab.gradient_clipping import ClippingResult
from charnn.lab.gradients import GAINS, VARIANTS, Effort, GradientNorms

TINY = Effort(hidden_size=48, rows=8, max_lag=32, steps=3)


def measured(**changes):
    """Measurements that support the claim, except for `changes` of the factors of variants."""
    factors = {
        "rnn at rest": GAINS,
        "rnn": [0.9 * gain for gain in GAINS],
        "lstm": [0.9, 0.9, 1.0, 1.0, 1.0],
        "gru": [0.9, 0.9, 1.0, 1.0, 1.0],
        "lstm, f open": [1.0] * 5,
        "gru, z open": [1.0] * 5,
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
        ([WRONG, WRONG], {}, [CLIPPED, FREE], ["gradients by hand"]),
        ([RIGHT, RIGHT], {}, [CLIPPED, FREE], ["V and W in the place"]),
        (
            [RIGHT, WRONG],
            {"rnn at rest": EXCHANGED, "rnn": [0.9 * by for by in EXCHANGED]},
            [CLIPPED, FREE],
            ["at rest the gradient", "while it reads"],
        ),
        ([RIGHT, WRONG], {"rnn": [1.1 * g for g in GAINS]}, [CLIPPED, FREE], ["while it reads"]),
        ([RIGHT, WRONG], {"gru": GAINS}, [CLIPPED, FREE], ["gates flatten this"]),
        ([RIGHT, WRONG], {"gru, z open": [0.9] * 5}, [CLIPPED, FREE], ["held open they"]),
        ([RIGHT, WRONG], {}, [ClippingResult(1.0, 300.0, 0.2), FREE], ["clipped at 1"]),
    ],
)
def test_the_verdict_follows_from_the_figures(errors, changes, clipped, contradicted) -> None:
    """What does not fit makes the claim not hold, and the sentence says which parts."""
    finding = gradients.finding_of(errors, measured(**changes), clipped)

    assert finding.held is (not contradicted)
    parts = [part for part in finding.verdict.lower().split("; ") if "not so here" in part]
    assert len(parts) == len(contradicted)
    for part, clause in zip(parts, contradicted, strict=True):
        assert clause.lower() in part


def test_a_short_run_bears_the_claim_out(monkeypatch) -> None:
    """Few texts and tokens are enough for all parts."""
    monkeypatch.setattr(gradients, "QUICK", TINY)
    finding = gradients.run(None, seed=1, quick=True, tell=lambda _: None)

    assert finding.held, finding.verdict
    assert [row[0] for row in finding.tables[1].rows] == [f"{gain:g}" for gain in GAINS]
    for found in finding.data["reaches"]:
        if found["way"] == "rnn at rest":
            assert found["factor"] == pytest.approx(found["gain"])
