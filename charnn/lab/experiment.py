"""What an experiment returns, a `Finding`, and its text."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charnn.display.charts import Chart
from charnn.display.messages import table

LINE_WIDTH = 100  # of prose, without a terminal
Tell = Callable[[str], None]  # receives lines about the progress of an experiment


@dataclass(frozen=True)
class Table:
    """Measurements as text: a title, column headers, rows of cells."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Check:
    """One part of a claim: a clause with the measurements, and whether they support it."""

    clause: str
    held: bool


@dataclass(frozen=True)
class Finding:
    """The result of an experiment.

    `verdict` is one sentence with the measurements, `held` says whether they support the claim;
    `charts` are drawn next to each other; `data` holds all measurements, for --json.
    """

    tables: Sequence[Table]
    verdict: str
    held: bool
    charts: Sequence[Chart]
    data: Mapping[str, Any]


def verdict_of(checks: Sequence[Check]) -> str:
    """Return one sentence with all clauses; clauses that do not hold are marked."""
    clauses = [check.clause if check.held else f"NOT so here: {check.clause}" for check in checks]
    sentence = "; ".join(clauses)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def as_text(finding: Finding, width: int | None = None) -> str:
    """Return the finding as text: tables, then the verdict; cells are wrapped to `width`."""
    outcome = "The claim held." if finding.held else "The claim did not hold."
    parts = [table(t.header, t.rows, title=t.title, width=width) for t in finding.tables]
    prose = textwrap.wrap(
        f"{outcome} {finding.verdict}", width or LINE_WIDTH, break_on_hyphens=False
    )
    return "\n\n".join([*parts, "\n".join(prose)])
