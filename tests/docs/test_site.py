"""The documentation site: it builds in strict mode and loads nothing from elsewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}


def loaded_by_style(style: str) -> list[str]:
    """What a style sheet loads."""
    return re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")]+)", style)


class Page(HTMLParser):
    """What a page loads, what it links to, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        for style in re.findall(r"<style.*?</style>|style=\"[^\"]*\"", text, re.S):
            self.loads += loaded_by_style(style)
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if LOADS.get(tag) in attributes:
            self.loads.append(attributes[LOADS[tag]])
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        self.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make site` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "properdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def build(config: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build a site in strict mode."""
    command = ["build", "--strict", "--config-file", str(config), "--site-dir", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "properdocs", *command],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    """Every page of the site."""
    return {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}


def is_elsewhere(address: str) -> bool:
    """Whether an address names a host."""
    return re.match(r"(\w+:)?//", address) is not None


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("[a page](missing.md)", "missing.md"),
        ("[a heading](#missing)", "#missing"),
        ("[a file](../README.md)", "README.md"),
    ],
)
def test_a_broken_link_fails_the_build(tmp_path, text, warning) -> None:
    """And so does a page that is not in the navigation."""
    settings = (ROOT / "properdocs.yml").read_text("utf-8").partition("\nnav:\n")[0]
    (tmp_path / "properdocs.yml").write_text(settings + "\nnav:\n  - index.md\n", "utf-8")
    (tmp_path / "docs").mkdir()
    index = tmp_path / "docs" / "index.md"

    index.write_text(f"# Index\n\n{text}\n", "utf-8")
    done = build(tmp_path / "properdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert warning in done.stderr

    index.write_text("# Index\n", "utf-8")
    assert build(tmp_path / "properdocs.yml", tmp_path / "site").returncode == 0

    (tmp_path / "docs" / "unlisted.md").write_text("# Not in the navigation\n", "utf-8")
    assert build(tmp_path / "properdocs.yml", tmp_path / "site").returncode != 0


def test_pages_load_nothing_from_elsewhere(pages) -> None:
    """No script, style, font or picture."""
    for path, page in pages.items():
        assert [address for address in page.loads if is_elsewhere(address)] == [], path.name


def test_styles_load_nothing_from_elsewhere(site) -> None:
    """Neither by url() nor by @import."""
    for path in site.rglob("*.css"):
        found = loaded_by_style(path.read_text("utf-8"))
        assert [address for address in found if is_elsewhere(address)] == [], path.name


def test_links_and_anchors_inside_the_site_exist(pages) -> None:
    """Strict mode checks links in Markdown; this checks also those in HTML and in the theme."""
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            address, anchor = urldefrag(unquote(link))
            if is_elsewhere(link) or path.name == "404.html":
                continue
            target = (path.parent / address).resolve() if address else path
            assert target.is_file(), (path.name, link)
            if anchor and target.suffix == ".html":
                assert anchor in pages[target].anchors, (path.name, link)


def test_every_page_is_reachable_from_the_index(site, pages) -> None:
    """By links in its text and in the navigation."""
    reached, queue = set(), [site / "index.html"]
    while queue:
        path = queue.pop()
        if path in reached or path not in pages:
            continue
        reached.add(path)
        addresses = [urldefrag(unquote(link))[0] for link in pages[path].links]
        queue += [(path.parent / address).resolve() for address in addresses]

    assert {path.name for path in pages.keys() - reached} == {"404.html"}


def test_generators_are_not_part_of_the_site(site) -> None:
    """Only pages, pictures, and what the theme needs."""
    assert list(site.rglob("*.py")) == []


def test_search_index_holds_the_pages(site) -> None:
    """Search runs in the browser, on this file."""
    index = (site / "search" / "search_index.json").read_text("utf-8")

    assert "Environment variables" in index
    assert "settings.html" in index
