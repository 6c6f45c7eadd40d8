"""Relative links in Markdown pages outside of the site, such as README.md and CONTRIBUTING.md."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def prose(path: Path) -> str:
    """The text of a page without its code."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("](", "] ("), text)


@cache
def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(path), re.M)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files_and_headings(page) -> None:
    """The site has its own check for the pages of docs/."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        address, anchor = urldefrag(unquote(link))
        if re.match(r"\w+:", link):
            continue
        target = (page.parent / address).resolve() if address else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link
