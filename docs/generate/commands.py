"""The reference of commands: what `--help` prints."""

import functools
import subprocess
import sys
from typing import Any

import typer.main

from charnn.cli import app
from docs.generate import markdown


@functools.cache
def commands() -> dict[str, Any]:
    """Return the commands by name, in the order of the help; a subcommand as "group command"."""
    return {
        f"{name} {part}".strip(): command
        for name, group in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
        for part, command in {"": group, **getattr(group, "commands", {})}.items()
    }


def table() -> str:
    """Return a table with a row per command: its name and the first paragraph of its help."""
    rows = [
        [f"[`charnn {name}`](#charnn-{name})", markdown.first_paragraph(command.help)]
        for name, command in commands().items()
        if " " not in name
    ]
    return markdown.table(["command", "purpose"], rows)


def page() -> str:
    """Return a page with the help of every command."""
    parts = [f"## charnn {name}\n\n```text\n{help_of(name)}\n```" for name in commands()]
    return markdown.page("Commands", table(), "The output of `charnn COMMAND --help`:", *parts)


def help_of(name: str) -> str:
    """Return what `charnn NAME --help` prints in 100 columns without color."""
    done = subprocess.run(
        [sys.executable, "-m", "charnn", *name.split(), "--help"],
        capture_output=True,
        check=True,
        encoding="utf-8",
        env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "PYTHONUTF8": "1"},
    )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n")
