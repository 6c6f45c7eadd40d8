"""README.md is short, and README.zh.md shows the same commands, code and output."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH = (ROOT / "README.md").read_text("utf-8")
CHINESE = (ROOT / "README.zh.md").read_text("utf-8")
MAX_LINES = 150


def code_blocks(page: str) -> list[tuple[str, str]]:
    """Return (language, code) of each fenced block; comments at line ends may be translated."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [
        (language, code if language == "text" else re.sub(r" +# .*", "", code))
        for language, code in blocks
    ]


def links(page: str) -> set[str]:
    """Return the targets of all links and pictures."""
    return set(re.findall(r"\]\(([^)]+)\)", page))


def test_readme_is_under_150_lines() -> None:
    """One page; details are in docs/."""
    assert len(ENGLISH.splitlines()) < MAX_LINES


def test_readmes_have_the_same_code_blocks() -> None:
    """Commands, Python code and the transcript are the same in both languages."""
    assert code_blocks(ENGLISH) == code_blocks(CHINESE)
    assert len(code_blocks(ENGLISH)) > 4


def test_readmes_link_to_each_other_and_to_the_same_pages() -> None:
    """The Chinese README links to the Chinese page of the lab."""
    switch = {"README.md", "README.zh.md"}
    translated = {link.replace("lab.zh.md", "lab.md") for link in links(CHINESE)}

    assert ENGLISH.splitlines()[2] == "[中文](README.zh.md)"
    assert CHINESE.splitlines()[2] == "[English](README.md)"
    assert links(ENGLISH) - switch == translated - switch


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_readmes_have_the_same_figures(page) -> None:
    """Every figure of the comparison in README.md is in both pages."""
    comparison = ENGLISH.partition("<!-- comparison -->")[2].partition("<!-- end comparison -->")[0]
    figures = re.findall(r"\d+\.\d+", comparison)

    assert figures
    assert [figure for figure in figures if figure not in page] == []


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_readmes_list_every_package(page) -> None:
    """One line for each package in charnn/."""
    packages = sorted(path.parent.name for path in (ROOT / "charnn").glob("*/__init__.py"))
    rows = re.findall(r"^- `(\w+)/`[:：] ?\S", page, re.MULTILINE)

    assert sorted(rows) == packages
