"""docs/environment.md lists every environment variable that the code reads or sets."""

import ast
import re

import pytest

from docs.generate import environment
from docs.generate.code_layout import PACKAGE
from docs.generate.commands import commands

LISTED = {*environment.OWN, *environment.TERMINAL, *environment.THREADS}
MODULES = [path for path in PACKAGE.rglob("*.py") if "os.environ" in path.read_text("utf-8")]


def variables(path) -> set[str]:
    """Names of variables in a module: arguments of os.environ, and strings in capitals.

    A string without an underscore can be something else, unless it begins as those of Python do.
    """
    source = path.read_text("utf-8")
    arguments = re.findall(r"os\.environ(?:\.\w+\(|\[)\"(\w+)\"", source)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    constants = [node.value for node in nodes if isinstance(node.value, str)]
    names = r"[A-Z0-9]+(_[A-Z0-9]+)+|PYTHON[A-Z0-9]+"
    return {*arguments, *(text for text in constants if re.fullmatch(names, text))}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_variables_in_a_module_that_uses_the_environment_are_listed(path) -> None:
    """Whatever the way in which the name reaches os.environ."""
    assert variables(path) <= LISTED


def test_variables_of_options_are_listed_with_their_options() -> None:
    """Typer reads these itself."""
    parameters = [parameter for command in commands().values() for parameter in command.params]
    variables = {p.envvar: f"`{p.opts[0]}`" for p in parameters if p.envvar}

    assert variables
    assert variables.items() <= {name: row[0] for name, row in environment.OWN.items()}.items()


def test_listed_variables_are_in_the_code() -> None:
    """A variable that is no longer used leaves the page; COLUMNS is read by shutil and Rich."""
    code = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))

    for name in LISTED - {"COLUMNS"}:
        assert name in code, name
