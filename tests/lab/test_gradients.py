"""Norms of gradients at known gains, clipped steps, and the results of measurements."""

import pytest

from charnn.lab import gradients
from charnn.lab.gradient_check import GradientErrors
from charnn.lab.gradient_clipping import ClippingResult
from charnn.lab.gradients import GAINS, VARIANTS, Effort, GradientNorms

TINY = Effort(hidden_size=48, rows=8, max_lag=32, steps=3)


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
        ([WRONG, WRONG], {}, [CLIPPED, FREE], ["Gradients by hand are not equal"]),
        ([RIGHT, RIGHT], {}, [CLIPPED, FREE], ["Gradients by hand are not equal"]),
        (
            [RIGHT, WRONG],
            {"RNN, h = 0": EXCHANGED, "RNN": [0.9 * factor for factor in EXCHANGED]},
            [CLIPPED, FREE],
            [
                "With h = 0, gradients of an RNN do not",
                "While an RNN reads tokens, gradients do not",
            ],
        ),
        (
            [RIGHT, WRONG],
            {"RNN": [1.1 * gain for gain in GAINS]},
            [CLIPPED, FREE],
            ["While an RNN reads tokens, gradients do not"],
        ),
        ([RIGHT, WRONG], {"GRU": GAINS}, [CLIPPED, FREE], ["Gates do not make"]),
        ([RIGHT, WRONG], {"GRU, z open": [0.9] * 5}, [CLIPPED, FREE], ["Gates do not make"]),
        (
            [RIGHT, WRONG],
            {},
            [ClippingResult(1.0, 300.0, 0.2), FREE],
            ["With clipping at norm 1, steps are not limited"],
        ),
    ],
)
def test_each_part_of_the_claim_depends_on_its_measurements(
    errors, changes, clipped, contradicted
) -> None:
    """A wrong measurement contradicts the parts that use it."""
    finding = gradients.finding_of(errors, measured(**changes), clipped)

    assert finding.held is (not contradicted)
    assert len(finding.checks) == 5
    parts = [str(check) for check in finding.checks if not check.confirmed]
    assert len(parts) == len(contradicted)
    for part, beginning in zip(parts, contradicted, strict=True):
        assert part.startswith(f"Contradicted: {beginning}")


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
