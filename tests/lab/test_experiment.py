"""Results as text, JSON and pictures; progress; the command that runs an experiment."""

import dataclasses
from pathlib import Path

import pytest
import typer.main

from charnn import cli
from charnn.display.charts import Lines
from charnn.lab.experiment import (
    Check,
    Experiment,
    Finding,
    Progress,
    Table,
    as_text,
    compared,
)

EXPERIMENT = Experiment(
    name="memory",
    question="Does the loss fall as n grows?",
    claim="It falls with each token.",
    measured="The loss in nats.\nn is the length.",
    advice="Use a large n.",
)
FALLS = Check("The losses [do not] fall", "they are 2.0 and 1.0", True)
LOW = Check("The last one is [not] below 1.5", "it is 1.0", True)
FAST = Check("The last one is [not] below 1", "it is 1.0", False)
FINDING = Finding(
    EXPERIMENT,
    tables=[Table("loss over n", ["n", "loss"], [["1", "2.0"], ["2", "1.0"]])],
    checks=[FALLS, LOW],
    charts=[Lines({"a": [(1, 2.0), (2, 1.0)]})],
    data={"losses": [2.0, float("nan")]},
)
ROOT = Path(__file__).resolve().parents[2]
COMMANDS = typer.main.get_command(cli.app).commands["lab"].commands


def test_text_begins_with_question_claim_and_what_is_measured() -> None:
    """Then come the tables, the results as a list, advice, and where to read more."""
    assert as_text(FINDING).splitlines() == [
        "Question: Does the loss fall as n grows?",
        "Claim:    It falls with each token.",
        "Measured: The loss in nats.",
        "          n is the length.",
        "",
        "loss over n",
        "n  loss",
        "1   2.0",
        "2   1.0",
        "",
        "The claim is confirmed in all parts:",
        "- Confirmed: The losses fall: they are 2.0 and 1.0.",
        "- Confirmed: The last one is below 1.5: it is 1.0.",
        "",
        "Advice:   Use a large n.",
        "Read more: docs/lab.md#memory",
    ]


def test_contradicted_parts_are_marked_and_counted() -> None:
    """In the text, and in `held`, `verdict` and `findings`; the negation is written out."""
    finding = dataclasses.replace(FINDING, checks=[FALLS, FAST])

    assert not finding.held
    assert finding.findings == [
        "Confirmed: The losses fall: they are 2.0 and 1.0.",
        "Contradicted: The last one is not below 1, because it is 1.0.",
    ]
    assert finding.verdict == " ".join(finding.findings)
    assert "The claim is contradicted in 1 of 2 parts:\n- Confirmed: The" in as_text(finding)
    assert "\n- Contradicted: The last one is not below 1, because it is 1.0.\n" in as_text(finding)


@pytest.mark.parametrize(("width", "columns"), [(None, 80), (200, 80), (40, 40)])
def test_prose_is_wrapped_to_short_lines(width, columns) -> None:
    """To the terminal, and to at most 80 columns; continuation lines are indented."""
    about = dataclasses.replace(EXPERIMENT, claim="word " * 60)
    lines = as_text(dataclasses.replace(FINDING, experiment=about), width).splitlines()

    assert columns - 5 < max(map(len, lines)) <= columns
    assert lines[1].startswith("Claim:    word")
    assert lines[2].startswith(" " * 10 + "word")


def test_an_equation_is_not_broken_across_lines() -> None:
    """ "n = 5" stays together at every width."""
    about = dataclasses.replace(EXPERIMENT, question="Is n = 5 or n = 10 better?")
    finding = dataclasses.replace(FINDING, experiment=about)
    for width in range(20, 60):
        assert not any(
            line.endswith(("n", "=")) for line in as_text(finding, width).splitlines()[:4]
        )


def test_a_comparison_has_a_positive_number_and_a_direction() -> None:
    """Never a negative difference."""
    assert compared(1.5, 2.0) == "0.500 lower"
    assert compared(2.25, 2.0, "nats") == "0.250 nats higher"


def test_progress_numbers_the_parts_and_weights_them_by_their_cost() -> None:
    """The fraction is that of all work, not of the parts."""
    reports = []
    progress = Progress(lambda *report: reports.append(report), [1, 3])
    progress.start("first")
    progress.start("second")
    progress.update(0.5)
    assert reports == [("1 of 2: first", 0.0), ("2 of 2: second", 0.25), ("2 of 2: second", 0.625)]
