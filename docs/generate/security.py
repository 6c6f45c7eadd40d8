"""The page docs/security.md: a copy of SECURITY.md with links that work inside docs/."""

from pathlib import Path

from docs.generate import markdown

SOURCE = Path(__file__).resolve().parents[2] / "SECURITY.md"


def page() -> str:
    """Return the text of SECURITY.md with links relative to docs/."""
    title, _, text = SOURCE.read_text("utf-8").partition("\n")
    return markdown.page(title.removeprefix("# "), text.strip().replace("](docs/", "]("))
