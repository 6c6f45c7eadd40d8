"""What an experiment returns, a `Finding`, and its text."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charnn.display.charts import Chart
from charnn.display.messages import table

LINE = 100  # columns of prose, where there is no terminal
Tell = Callable[[str], None]  # takes a line about how far an experiment has got


@dataclass(frozen=True)
class Table:
    """Figures as a person reads them: a title, names of the columns, rows of cells."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Check:
    """One part of a claim: a clause with the figures measured, and whether they bear it out."""

    clause: str
    held: bool


@dataclass(frozen=True)
class Finding:
    """What came of an experiment.

    `verdict` is one sentence made from the figures measured, and `held` whether the claim was
    borne out; `charts` are drawn side by side; `data` is all that was measured, for --json.
    """

    tables: Sequence[Table]
    verdict: str
    held: bool
    charts: Sequence[Chart]
    data: Mapping[str, Any]


def verdict_of(checks: Sequence[Check]) -> str:
    """One sentence of all clauses; those that the figures contradict are marked as such."""
    clauses = [check.clause if check.held else f"NOT so here: {check.clause}" for check in checks]
    sentence = "; ".join(clauses)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def as_text(finding: Finding, width: int | None = None) -> str:
    """The finding as a person reads it: tables, then the verdict; cells are wrapped to `width`."""
    outcome = "The claim held." if finding.held else "The claim did not hold."
    parts = [table(t.header, t.rows, title=t.title, width=width) for t in finding.tables]
    prose = textwrap.wrap(f"{outcome} {finding.verdict}", width or LINE, break_on_hyphens=False)
    return "\n\n".join([*parts, "\n".join(prose)])
