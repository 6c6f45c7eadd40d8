"""Prose avoids the phrases below: in pages, help texts, messages, docstrings and comments."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Regular expression of a phrase -> what to write instead. A space matches any whitespace.
PHRASES = {
    r"beside": "next to, in addition to, compared with",
    r"side by side": "in parallel",
    r"anew|afresh|once more": "again",
    r"as (it was|they were)": "unchanged",
    r"as (it|they) stands?": "unchanged",
    r"so many|so much": "N, a number of",
    r"(go|goes|going|went|gone) on": "continue, resume",
    r"learnt": "learned",
    r"by heart": "overfit, memorize",
    r"told": "reported, printed",
    r"mend(s|ed|ing)?": "fix",
    r"dealt": "distributed",
    r"pass(es|ed|ing) over": "epochs; skip",
    r"in the place of": "instead of",
    r"likeliest": "most likely",
    r"what (comes|came) of": "the result of",
    r"(take|takes|say|says|mean|means) what (it|they)": "be specific",
    r"(where|what|whatever) (\w+ ){0,2}(stands?|stood)": "position, state, content",
    r"stands? (in|on|at|there|here|before|behind)": "is",
    r"(lie|lies|lay) (in|at|on|behind|there|here|around|among|ready|where)": "is",
    r"never knows": "state the layers once, in the package docstring",
    r"most telling": "most informative, with the highest mutual information",
    r"for ever|in no time": "without end; quickly",
    r"honest(ly)?": "be specific",
    r"steer(s|ed|ing)?": "control",
    r"vouch(es|ed|ing)?": "match",
    r"smuggl\w+": "add, hide",
    r"crowds? out": "replace",
    r"upsets?": "break",
    r"spoil(s|ed|t)?": "damage",
    r"does? no harm": "has no effect, is accepted",
    r"(gives?|gave|makes?|made) way": "be replaced, be skipped",
    r"puts? out": "print, write",
    r"sound (file|model|checkpoint|ones?)": "valid",
    r"(nobody|somebody)('s)?": "no process, no reader; a user",
    r"of (ours|yours)": "of charnn; your",
    r"the likes of": "similar",
    r"hand(s|ed)? (it|them) on": "pass on",
    r"earns?": "gain",
    r"pays (for|least|most)": "costs, has the lowest loss",
    r"(tokens|bits|nats|bytes|characters|[MG]B|one|object|name|bias) an? "
    r"(second|character|token|line|seed|step|layer|sample|row)": "per",
}
PATTERN = re.compile(
    r"(?<![\w-])("
    + "|".join(f"(?:{phrase})".replace(" ", r"\s+") for phrase in PHRASES)
    + r")(?![\w-])",
    re.IGNORECASE,
)
# Blocks of pages whose text comes from code that is tested below, or from a recorded command.
PASTED = re.compile(r"<!-- (lab \w+|commands|packages|transcript) -->.*?<!-- end \1 -->", re.DOTALL)
GENERATED = re.compile(r"\A# .*\n\n(<!-- )?Generated ")

PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("docs/**/*.md")]
    if ".zh." not in path.name
)
SOURCES = sorted(
    path
    for folder in ("benchmarks", "docs", "tests/docs")
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__)
)
RELIABILITY = sorted((ROOT / "tests" / "reliability").glob("*.py"))
PACKAGE = sorted((ROOT / "charnn").rglob("*.py"))


def is_generated(page: Path) -> bool:
    """Return whether the whole page is generated from the code."""
    return GENERATED.match(page.read_text("utf-8")) is not None


def found(text: str, first_line: int = 1) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each phrase to avoid."""
    for match in PATTERN.finditer(text):
        yield first_line + text.count("\n", 0, match.start()), " ".join(match[0].split())


def in_page(path: Path) -> list[str]:
    """Return the phrases to avoid in a page."""
    text = PASTED.sub(lambda block: "\n" * block[0].count("\n"), path.read_text("utf-8"))
    return [f"{path.relative_to(ROOT)}:{line}: {phrase}" for line, phrase in found(text)]


def in_source(path: Path) -> list[str]:
    """Return the phrases to avoid in the strings and comments of a module."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {phrase}"
        for first_line, text in prose(path.read_text("utf-8"))
        for line, phrase in found(text, first_line)
    ]


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield the first line and the text of strings and comments; adjacent ones are joined."""
    kind, first_line, last_line, text = 0, 0, 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NL, tokenize.INDENT):
            continue
        if text and token.type == kind and token.start[0] <= last_line + 1:
            text += "\n" * (token.start[0] - last_line) + content(token)
        else:
            if text:
                yield first_line, text
            kind, first_line, text = token.type, token.start[0], content(token)
        last_line = token.end[0]
    if text:
        yield first_line, text


def content(token: tokenize.TokenInfo) -> str:
    """Return the text of a string or a comment, and nothing of any other token."""
    if token.type == tokenize.COMMENT:
        return token.string.removeprefix("#")
    if token.type != tokenize.STRING:
        return ""
    prefix, text = re.fullmatch(r"(\w*)(.*)", token.string, re.DOTALL).groups()
    text = re.sub(r"\A(\"{3}|'{3}|\"|')|(\"{3}|'{3}|\"|')\Z", "", text)
    return re.sub(r"\{[^{}]*\}", "{}", text) if "f" in prefix.lower() else text


def report(hits: list[str]) -> str:
    """Return the hits, one per line, each with what to write instead."""
    return "\n".join(f"{hit} -> {instead(hit.split(': ')[1])}" for hit in hits)


def instead(phrase: str) -> str:
    """Return what to write instead of a phrase."""
    matches = (text for pattern, text in PHRASES.items() if re.fullmatch(pattern, phrase, re.I))
    return next(matches)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_use_plain_terms(page) -> None:
    """README, docs, CONTRIBUTING, SECURITY, CHANGELOG and the pages of benchmarks/."""
    if is_generated(page):
        pytest.skip("generated from the code, which is tested below")
    hits = in_page(page)
    assert not hits, report(hits)


def test_scripts_use_plain_terms() -> None:
    """Docstrings, comments and printed text in benchmarks/, docs/ and tests/docs/."""
    hits = [hit for path in SOURCES for hit in in_source(path)]
    assert not hits, report(hits)


def test_package_and_generated_pages_use_plain_terms() -> None:
    """Help texts, messages, docstrings and comments of charnn/, and pages generated from them."""
    hits = [hit for path in [*PACKAGE, *RELIABILITY] for hit in in_source(path)]
    hits += [hit for page in PAGES if is_generated(page) for hit in in_page(page)]
    print(report(hits))
    assert not hits, report(hits)


def test_the_search_finds_phrases_across_lines() -> None:
    """In a page, a comment, a docstring and an implicitly concatenated string."""
    source = '# it goes\n# on\nx = ("side "\n    "by side", "aside")\n"""Told\n\nbesides anew."""\n'
    hits = [hit for first_line, text in prose(source) for hit in found(text, first_line)]

    assert hits == [(1, "goes on"), (3, "side by side"), (5, "Told"), (7, "anew")]
    assert list(found("a step as it\nwas, mended.")) == [(1, "as it was"), (2, "mended")]
