"""The tables of docs/reliability.md: each test of tests/reliability/, and what it shows."""

import ast
import re
from pathlib import Path

from docs.generate import markdown

ROOT = Path(__file__).resolve().parents[2]


def tables() -> str:
    """Return a heading and a table for each module of tests that is named after a letter."""
    paths = sorted((ROOT / "tests" / "reliability").glob("test_?_*.py"))
    return "\n\n".join(section(path) for path in paths)


def section(path: Path) -> str:
    """Return the heading and the table of one module of tests."""
    module = ast.parse(path.read_text("utf-8"))
    title = markdown.first_paragraph(ast.get_docstring(module)).removeprefix("Rows ")
    letter, _, promise = title.partition(" of the table of faults: ")
    tests = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    rows = sorted(row for test in tests if (row := test_row(test)))
    return "\n\n".join(
        [
            f"### {letter}: {promise}",
            f"In `{path.relative_to(ROOT)}`.",
            markdown.table(["row", "test", "promise"], [cells for _, cells in rows]),
        ]
    )


def test_row(test: ast.FunctionDef) -> tuple[list[int], list[str]] | None:
    """Return the row numbers and the table cells of a test that is named after rows."""
    match = re.fullmatch(r"test((?:_[a-i]\d+)+)_(\w+)", test.name)
    if not match:
        return None
    rows = match[1].strip("_").split("_")
    promise = markdown.first_paragraph(ast.get_docstring(test))
    cells = [", ".join(rows).upper(), match[2].replace("_", " "), promise]
    return [int(row[1:]) for row in rows], cells
