"""Every recipe of docs/recipes.md runs and has the expected result."""

import re
import shutil
from pathlib import Path

import pytest

from tests.bash import bash
from tests.shell.conftest import QUICK

RECIPES = Path(__file__).parents[2] / "docs" / "recipes.md"
TALK = (
    "ALICE: How is the weather?\nBOB: It rains, and it is 12 degrees - no, 34.\n"
    "ALICE: Then we stay in, and read; the quick brown fox jumps over the lazy dog.\n"
    "BOB: At 5 we have tea, at 67 past 8 - or 9 - the post comes, as vexing as a zebra.\n"
)
OTHER = "狐狸跳过了懒狗，河镇没有桥的时候，就先有了渡口。\nЛиса прыгает через собаку, и всё.\n"
NAMES = "Anna\nBertha\nCarla\nDora\nEmma\nFrieda\nGreta\nHanna\nIda\nJana\nKlara\nLena\n"


def blocks():
    """Return the commands of each recipe by its title."""
    found = re.findall(r"\*\*(.+?)\*\*.*?```sh\n(.*?)```", RECIPES.read_text("utf-8"), re.S)
    return dict(found)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    """Return a folder with the texts and models that the recipes use."""
    folder = tmp_path_factory.mktemp("kitchen")
    texts = {"talk": TALK * 30, "one": TALK * 30, "other": OTHER * 60, "names": NAMES * 10}
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, "utf-8")
    (folder / "log.txt").write_text(TALK * 20 + "%$&/(&%$)\n", "utf-8")
    (folder / "mixed.txt").write_text(TALK + OTHER, "utf-8")
    for name in ("other", "one", "talk"):
        bash(
            folder,
            f"charnn prepare {name}.txt --tokenizer byte -q\n"
            f"charnn train {name} --name {name} {SMALL}",
        )
    bash(folder, "git init -q; git -c user.name=a -c user.email=b commit -q --allow-empty -m Begin")
    return folder


SMALL = " ".join(("--steps", "60", *QUICK, "-q"))


EXPECTED = {
    "Generate names": lambda out: len(out.partition("model.safetensors\n")[2].splitlines()) == 10,
    "Distinct lines": "lines.txt",
    "New names": "new.txt",
    "New text": "unheard.txt",
    "Unusual lines of a log": lambda out: out.splitlines()[0].endswith("%$&/(&%$)"),
    "Longest surprises": lambda out: len(out.splitlines()) == 5,
    "Line numbers": lambda out: out.startswith('{"line": 1, "file": "log.txt", '),
    "Watch a log": lambda out: out.endswith("%$&/(&%$)\n"),
    "Identify the language": lambda out: (
        [line.split("\t")[0] for line in out.splitlines()] == ["one"] * 4 + ["other"] * 2
    ),
    "Prompt from a pipe": lambda out: len(out) in (200, 201),
    "Constrain the format": lambda out: re.fullmatch(r"[a-z]{4,8}-[a-z]{4,8}-\d\d\n", out),
    "Sample in parallel": "out/8.txt",
    "Rank commit messages": lambda out: re.fullmatch(r"\d+\.\d+\tBegin\n", out),
    "Stop at the next speaker": lambda out: "\nALICE:" not in out[10:],
    "Compare two models": lambda out: (
        [line.split()[0] for line in out.splitlines()] == ["model", "one", "talk"]
    ),
    "Continue a text": "here.state",
}


def test_every_recipe_has_an_expected_result() -> None:
    """EXPECTED has an entry for each of at least ten recipes."""
    assert set(EXPECTED) == set(blocks())
    assert len(EXPECTED) >= 10


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("title", EXPECTED)
def test_recipe(title, kitchen) -> None:
    """The commands run, and their output or file is the expected one."""
    if title == "New names":
        bash(kitchen, blocks()["Generate names"].replace("--name names", "--name names --force"))
    out = bash(kitchen, blocks()[title])
    expected = EXPECTED[title]
    if title == "New names":
        assert not {*(kitchen / "new.txt").read_text().splitlines()} & {*NAMES.splitlines()}
    if isinstance(expected, str):
        assert (kitchen / expected).stat().st_size > 0
    else:
        assert expected(out), out
