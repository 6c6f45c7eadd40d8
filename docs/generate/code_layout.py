"""The packages and modules of charnn, with the first lines of their docstrings."""

from pathlib import Path

from docs.generate import markdown

PACKAGE = Path(__file__).resolve().parents[2] / "charnn"
# From the top layer to the bottom; tests/test_architecture.py tests the layers.
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
INTRODUCTION = """\
charnn is ten packages. A package imports only from packages below it in this list. Every package
may import the top-level modules `config`, `errors`, `escape` and `arrays`.
`tests/test_architecture.py` tests these layers, and which modules load torch.

The path of the data:

```text
sources → text → tokenizer → dataset → sampler → model → training → model file → generation → text
```

The docstring of each package (`charnn/NAME/__init__.py`) says what the package may import and which
file to read first. [Extending charnn](extending.md) explains how to add a cell, a tokenizer or an
experiment."""


def packages() -> str:
    """Return a list of the packages, with a line each."""
    found = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert found == set(PACKAGES), "PACKAGES in docs/generate/code_layout.py lists every package"
    lines = [(name, markdown.docstring_line(PACKAGE / name / "__init__.py")) for name in PACKAGES]
    return "\n".join(f"- `{name}/`: {line}" for name, line in lines)


def page() -> str:
    """Return a page with a table of modules for the top level and for each package."""
    sections = [section("Top level", PACKAGE)]
    sections += [section(f"{name}/", PACKAGE / name) for name in PACKAGES]
    return markdown.page("Code layout", INTRODUCTION, *sections)


def section(title: str, folder: Path) -> str:
    """Return a heading, the first line of the package docstring, and a table of its modules."""
    rows = [
        [f"`{path.name}`", markdown.docstring_line(path)]
        for path in sorted(folder.glob("*.py"))
        if not path.name.startswith("__")
    ]
    about = markdown.docstring_line(folder / "__init__.py")
    return f"## {title}\n\n{about}\n\n{markdown.table(['module', 'content'], rows)}"
