"""The page of the Python API: signatures and docstrings of the public names of charnn."""

import ast
import inspect
import re
import textwrap
from typing import Any

import charnn
from charnn.api import DEFAULTS
from charnn.training import events
from docs.generate import markdown

LINE_LENGTH = 80  # of a signature on one line
INTRODUCTION = """\
`import charnn` loads nothing heavy. Only training needs torch; everything else needs only NumPy.
The names on this page are the public API; `dir(charnn)` lists them. Errors are exceptions of
`charnn.errors`, one for each [exit code](exit-codes.md); each has a `message` and a `hint`."""
EVENTS = """\
The values that a `Training` yields. All are frozen dataclasses; the last one is the `Result`.
`charnn.Event` is the union of their types."""


def page() -> str:
    """Return a page with a section for each public name; the events come last."""
    public = [getattr(charnn, name) for name in charnn.__all__]
    own = [thing for thing in public if inspect.isfunction(thing) or inspect.isclass(thing)]
    are_events = {thing: thing.__module__ == events.__name__ for thing in own}
    functions = [thing for thing in own if inspect.isfunction(thing)]
    classes = [thing for thing in own if inspect.isclass(thing) and not are_events[thing]]
    return markdown.page(
        "Python API",
        INTRODUCTION,
        *(section(thing, "charnn.") for thing in (*functions, *classes)),
        "## charnn.\\_\\_version\\_\\_\n\nThe version of charnn, a string.",
        f"## Events\n\n{EVENTS}",
        *(section(thing, "charnn.", level=3) for thing in own if are_events[thing]),
    )


def section(thing: Any, prefix: str = "", level: int = 2) -> str:
    """Return the documentation of a class with its public members, or of a function."""
    node = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    heading = "#" * level
    if isinstance(node, ast.FunctionDef):
        return f"{heading} {prefix}{node.name}\n\n{described(node, prefix)}"
    assert isinstance(node, ast.ClassDef)
    parts = [f"{heading} {prefix}{node.name}", docstring(node)]
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    if fields:
        lines = "\n".join(ast.unparse(field) for field in fields)
        parts.append(f"```python\n{lines}\n```".replace("'", '"'))
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
    if arguments.kwarg:
        parts.append(f"**{parameter(arguments.kwarg, None)}")
    name, result = f"{prefix}{function.name}", unparsed(function.returns)
    line = f"{name}({', '.join(parts)}) -> {result}"
    if len(line) <= LINE_LENGTH:
        return line
    lines = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{lines}) -> {result}"


def parameter(argument: ast.arg, default: ast.expr | None) -> str:
    """Return a parameter as source code."""
    text = f"{argument.arg}: {unparsed(argument.annotation)}"
    if default is None:
        return text
    if isinstance(default, ast.Attribute) and unparsed(default.value) == "DEFAULTS":
        return f"{text} = {getattr(DEFAULTS, default.attr)}"
    return f"{text} = {unparsed(default)}"


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
