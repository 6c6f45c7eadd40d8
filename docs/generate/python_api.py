"""The page of the Python API: signatures and docstrings of the public names of charnn."""

import ast
import inspect
import re
import textwrap
from typing import Any

import charnn
from charnn.evaluation.metrics import Score
from docs.generate import markdown

LINE_LENGTH = 80  # of a signature on one line
INTRODUCTION = """\
`import charnn` loads nothing heavy. `charnn.load` needs NumPy, but not torch. The names on this
page are the public API; import nothing else from charnn. Errors are exceptions of `charnn.errors`,
one for each [exit code](exit-codes.md)."""
RESULTS = "The methods above return objects of these classes."


def page() -> str:
    """Return a page with a section for each public name, and one for each class of results."""
    public = [getattr(charnn, name) for name in charnn.__all__]
    return markdown.page(
        "Python API",
        INTRODUCTION,
        *(section(thing, "charnn.") for thing in public if callable(thing)),
        "## charnn.\\_\\_version\\_\\_\n\nThe version of charnn, a string.",
        f"## Results\n\n{RESULTS}",
        section(Score, level=3),
    )


def section(thing: Any, prefix: str = "", level: int = 2) -> str:
    """Return the documentation of a class with its public members, or of a function."""
    node = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    heading = "#" * level
    if isinstance(node, ast.FunctionDef):
        return f"{heading} {prefix}{node.name}\n\n{described(node, prefix)}"
    assert isinstance(node, ast.ClassDef)
    parts = [f"{heading} {prefix}{node.name}", docstring(node)]
    members = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    for member in members:
        if not member.name.startswith("_"):
            parts += [f"{heading}# {node.name}.{member.name}", described(member)]
    return "\n\n".join(parts)


def described(function: ast.FunctionDef, prefix: str = "") -> str:
    """Return the signature and the docstring of a function, a method or a property."""
    if any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list):
        return f"Property of type `{unparsed(function.returns)}`. {docstring(function)}"
    return f"```python\n{signature(function, prefix)}\n```\n\n{docstring(function)}"


def signature(function: ast.FunctionDef, prefix: str) -> str:
    """Return a signature on one line, or one line for each parameter if it is long."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = list(zip(positional, missing + list(arguments.defaults), strict=True))
    parts = [parameter(arg, default) for arg, default in pairs if arg.arg != "self"]
    if arguments.kwonlyargs:
        keyword = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        parts += ["*", *(parameter(arg, default) for arg, default in keyword)]
    name, result = f"{prefix}{function.name}", unparsed(function.returns)
    line = f"{name}({', '.join(parts)}) -> {result}"
    if len(line) <= LINE_LENGTH:
        return line
    lines = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{lines}) -> {result}"


def parameter(argument: ast.arg, default: ast.expr | None) -> str:
    """Return a parameter as source code."""
    text = f"{argument.arg}: {unparsed(argument.annotation)}"
    return text if default is None else f"{text} = {unparsed(default)}"


def unparsed(node: ast.expr | None) -> str:
    """Return an expression as source code, strings in double quotes."""
    return "None" if node is None else ast.unparse(node).replace("'", '"')


def docstring(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return a docstring as Markdown: lines that begin with `>>>` become a code block."""
    text = ast.get_docstring(node) or ""
    return re.sub(
        r"(?:^>>> .*\n?)+",
        lambda match: "```python\n" + re.sub(r"(?m)^>>> ", "", match[0]).rstrip() + "\n```\n",
        text,
        flags=re.M,
    ).rstrip()
