"""What an experiment returns, a `Finding`, and its text."""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charnn.display.charts import Chart
from charnn.display.messages import table

LINE_WIDTH = 80  # columns of prose; a narrower terminal has shorter lines
NO_BREAK = "\u00a0=\u00a0"  # " = " with no-break spaces
PAGE = "docs/lab.md"  # describes each experiment in a section of its name
NEGATION = re.compile(r"\[(.*?)\] ")  # in a part of a claim, with the space after it
Tell = Callable[[str, float], None]  # receives the current part and the fraction of work done


@dataclass(frozen=True)
class Experiment:
    """What an experiment asks, the claim it tests, what it measures, and its use.

    `measured` explains the symbols of the tables. `name` is that of the command.
    """

    name: str
    question: str
    claim: str
    measured: str
    advice: str


@dataclass(frozen=True)
class Table:
    """Measurements as text: a title, column headers, rows of cells."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Check:
    """One part of a claim, the measurements, and whether they confirm it.

    `part` is a sentence with its negation in brackets, as in "A is [not] larger", and `figures` a
    clause with the measurements; both without the full stop.
    """

    part: str
    figures: str
    confirmed: bool

    def __str__(self) -> str:
        """Return the outcome, and the part or its negation with the figures."""
        if self.confirmed:
            return f"Confirmed: {NEGATION.sub('', self.part)}: {self.figures}."
        negated = NEGATION.sub(r"\1 ", self.part)
        return f"Contradicted: {negated}, because {self.figures}."


@dataclass(frozen=True)
class Finding:
    """The result of an experiment.

    The charts are drawn next to each other; `data` holds all measurements, for --json.
    """

    experiment: Experiment
    tables: Sequence[Table]
    checks: Sequence[Check]
    charts: Sequence[Chart]
    data: Mapping[str, Any]

    @property
    def held(self) -> bool:
        """Whether the measurements confirm all parts of the claim."""
        return all(check.confirmed for check in self.checks)

    @property
    def findings(self) -> list[str]:
        """The parts of the claim, each with its outcome and figures."""
        return [str(check) for check in self.checks]

    @property
    def verdict(self) -> str:
        """All parts of the claim as one text."""
        return " ".join(self.findings)


class Progress:
    """Reports which part of an experiment runs, and which fraction of all work is done.

    `costs` are the relative durations of the parts.
    """

    def __init__(self, tell: Tell, costs: Sequence[float]) -> None:
        self._tell = tell
        self._costs = costs
        self._part = 0
        self._text = ""

    def start(self, text: str) -> None:
        """Begin the next part."""
        self._part += 1
        self._text = f"{self._part} of {len(self._costs)}: {text}"
        self.update(0.0)

    def update(self, fraction: float) -> None:
        """Report the fraction of the current part that is done."""
        done = sum(self._costs[: self._part - 1]) + fraction * self._costs[self._part - 1]
        self._tell(self._text, done / sum(self._costs))


def compared(value: float, reference: float, unit: str = "") -> str:
    """Return how much higher or lower a value is: "0.217 nats lower", "0.003 nats higher"."""
    difference = f"{abs(value - reference):.3f}{unit and ' '}{unit}"
    return f"{difference} {'lower' if value < reference else 'higher'}"


def as_text(finding: Finding, width: int | None = None) -> str:
    """Return what the experiment is about, its tables and its results; None wraps no table."""
    columns = min(width or LINE_WIDTH, LINE_WIDTH)
    about = finding.experiment
    contradicted = sum(not check.confirmed for check in finding.checks)
    outcome = f"contradicted in {contradicted} of {len(finding.checks)} parts"
    result = f"The claim is {outcome if contradicted else 'confirmed in all parts'}:"
    parts = [
        "\n".join(
            [
                *_labelled("Question", about.question, columns),
                *_labelled("Claim", about.claim, columns),
                *_labelled("Measured", about.measured, columns),
            ]
        ),
        *(table(t.header, t.rows, title=t.title, width=width) for t in finding.tables),
        "\n".join([*_wrapped(result, columns), *_bullets(finding.findings, columns)]),
        "\n".join(
            [
                *_labelled("Advice", about.advice, columns),
                f"Read more: {PAGE}#{about.name}",
            ]
        ),
    ]
    return "\n\n".join(parts)


def _labelled(label: str, text: str, columns: int) -> Iterator[str]:
    return _wrapped(text, columns, f"{label}:".ljust(10), " " * 10)


def _bullets(texts: Sequence[str], columns: int) -> Iterator[str]:
    return (line for text in texts for line in _wrapped(text, columns, "- ", "  "))


def _wrapped(text: str, columns: int, first: str = "", indent: str = "") -> Iterator[str]:
    """Yield the lines of a text, which begin with `first` and then with `indent`.

    Lines are not broken at " = ".
    """
    for line in text.replace(" = ", NO_BREAK).splitlines():
        for wrapped in textwrap.wrap(
            line, columns, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
        ):
            yield wrapped.replace(NO_BREAK, " = ")
        first = indent
