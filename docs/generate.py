"""Write what can be read off the program and its tests into README.md and docs/.

Run with --check it writes nothing and fails if anything is out of date.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import typer.main

from charnn.cli import app

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMMANDS = ROOT / "docs" / "commands.md"
RELIABILITY = ROOT / "docs" / "reliability.md"
# The packages from the top layer to the bottom; tests/test_architecture.py tests the layers.
PACKAGES = (
    "commands",
    "lab",
    "training",
    "generation",
    "evaluation",
    "data",
    "model",
    "tokenizers",
    "display",
    "storage",
)


def main() -> int:
    """Regenerate, or with --check compare; the exit code says whether all was current."""
    wanted = {path: with_blocks(path.read_text("utf-8")) for path in (README, RELIABILITY)}
    wanted[COMMANDS] = command_reference()
    stale = [path for path, text in wanted.items() if not same(path, text)]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], "utf-8")
    return 0


def same(path: Path, text: str) -> bool:
    """Whether the file holds exactly this text."""
    return path.is_file() and path.read_text("utf-8") == text


def with_blocks(text: str) -> str:
    """Return a page with every block between `<!-- NAME -->` and `<!-- end NAME -->` replaced."""
    for name, make in BLOCKS.items():
        block = f"<!-- {name} -->\n{make()}\n<!-- end {name} -->"
        text = re.sub(
            rf"<!-- {name} -->.*?<!-- end {name} -->", lambda _, b=block: b, text, flags=re.S
        )
    return text


def commands() -> dict[str, typer.core.TyperCommand]:
    """Return the commands by name, in the order of the help; a subcommand as "group command"."""
    return {
        f"{name} {part}".strip(): command
        for name, whole in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
        for part, command in {"": whole, **getattr(whole, "commands", {})}.items()
    }


def command_table() -> str:
    """One line a command, with the first sentence of its help."""
    rows = [
        f"| [`charnn {name}`](docs/commands.md#charnn-{name}) | {first_sentence(command.help)} |"
        for name, command in commands().items()
        if " " not in name
    ]
    return "\n".join(["| command | does |", "|---|---|", *rows])


def package_tree() -> str:
    """Every package and module with the first line of its docstring, from top to bottom layer."""
    root = ROOT / "charnn"
    found = {path.parent.name for path in root.glob("*/__init__.py")}
    assert found == set(PACKAGES), "PACKAGES in docs/generate.py must list every package"
    lines = []
    for folder in (root, *(root / name for name in PACKAGES)):
        lines += [
            "",
            f"{folder.relative_to(ROOT)}/".ljust(30) + docstring_line(folder / "__init__.py"),
        ]
        lines += [
            f"    {path.name}".ljust(30) + docstring_line(path)
            for path in sorted(folder.glob("*.py"))
            if not path.name.startswith("__")
        ]
    return "\n".join(["```text", *lines[1:], "```"])


def docstring_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]


def promise_tables() -> str:
    """Return a table of the tests of each letter: row, what is done, what is promised."""
    parts = []
    for path in sorted((ROOT / "tests" / "reliability").glob("test_?_*.py")):
        module = ast.parse(path.read_text("utf-8"))
        title = first_sentence(ast.get_docstring(module)).removeprefix("Rows ")
        letter, _, promise = title.partition(" of the table of faults: ")
        parts += [f"### {letter}: {promise}", ""]
        parts += [
            f"In `{path.relative_to(ROOT)}`.",
            "",
            "| row | test | promise |",
            "|---|---|---|",
        ]
        tests = [node for node in module.body if isinstance(node, ast.FunctionDef)]
        rows = [row for test in tests if (row := promise_row(test))]
        parts += [f"| {row} | {name} | {told} |" for _, row, name, told in sorted(rows)]
        parts += [""]
    return "\n".join(parts).rstrip()


def promise_row(test: ast.FunctionDef) -> tuple[list[int], str, str, str] | None:
    """(numbers to sort by, rows, name in words, docstring) of a test named after rows."""
    match = re.fullmatch(r"test((?:_[a-i]\d+)+)_(\w+)", test.name)
    if not match:
        return None
    rows = match[1].strip("_").split("_")
    numbers = [int(row[1:]) for row in rows]
    words = match[2].replace("_", " ")
    return numbers, ", ".join(rows).upper(), words, first_sentence(ast.get_docstring(test))


def first_sentence(text: str | None) -> str:
    """Return the first paragraph on one line, safe inside a table."""
    paragraph = (text or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


def command_reference() -> str:
    """Every command's own --help, as it is printed."""
    parts = ["# Commands", "", "Generated from `--help` by `make docs`.", ""]
    for name in commands():
        parts += [f"## charnn {name}", "", "```text", help_of(name), "```", ""]
    return "\n".join(parts)


def help_of(name: str) -> str:
    """Return what `charnn NAME --help` prints in 100 columns without color."""
    done = subprocess.run(
        [sys.executable, "-m", "charnn", *name.split(), "--help"],
        capture_output=True,
        check=True,
        encoding="utf-8",
        env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "PYTHONUTF8": "1"},
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


BLOCKS = {"commands": command_table, "tree": package_tree, "promises": promise_tables}


if __name__ == "__main__":
    sys.exit(main())
