"""Findings of experiments as text."""

from charnn.display.charts import Lines
from charnn.lab.experiment import Check, Finding, Table, as_text, verdict_of

FINDING = Finding(
    tables=[Table("loss over n", ["n", "loss"], [["1", "2.0"], ["2", "1.0"]])],
    verdict="It falls.",
    held=True,
    charts=[Lines({"a": [(1, 2.0), (2, 1.0)]})],
    data={"losses": [2.0, float("nan")]},
)


def test_a_verdict_is_one_sentence_that_marks_what_is_contradicted() -> None:
    """Clauses in order, a capital at the beginning, a full stop at the end."""
    checks = [Check("a is 1", held=True), Check("b is 2", held=False)]
    assert verdict_of(checks) == "A is 1; NOT so here: b is 2."


def test_a_finding_as_text() -> None:
    """Its tables with their titles, and whether the claim held, with the verdict."""
    assert as_text(FINDING).splitlines() == [
        "loss over n",
        "n  loss",
        "1   2.0",
        "2   1.0",
        "",
        "The claim held. It falls.",
    ]
