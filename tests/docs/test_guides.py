"""The commands of the guides run, and every command line in docs/ is valid.

Conventions of the pages:

- A fenced block marked `sh` or `python` holds commands to copy. The blocks of a page are run in
  order, in one folder; trainings are cut down to a few steps of a tiny network.
- A block after `<!-- not run: REASON -->` is not run. The command lines in it are parsed.
- In these pages, `charnn …` in code spans of the text is parsed too, unless it contains an
  ellipsis; `N` stands for a number.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import typer.main

from charnn import cli
from tests.bash import bash

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if path.name != "commands.md"
)
GUIDES = [page for page in PAGES if page.startswith(("getting-started", "guides/", "concepts/"))]
PROSE_PAGES = [*GUIDES, "extending.md", "faq.md"]
BLOCK = re.compile(r"(<!-- not run: .*? -->\n)?^ *```(sh|python)\n(.*?)^ *```$", re.M | re.S)
CODE_SPAN = re.compile(r"(?<!`)`(charnn [^`\n]+)`(?!`)")
OPERATORS = "();<>|&\n"
KEYWORDS = ("for", "do", "done", "if", "then", "while")
COMMAND = typer.main.get_command(cli.app)

PROSE = (
    "The lamp on the stair will not stay lit, said the keeper of the light.\n"
    "Then light it again, said the sea, for I have all the time there is.\n\n"
    'Wick said: "Why, Tamsin?" - "It is quick; 10 to 12 days." The jar of oil went by.\n\n'
)
POEM = "春眠不覺曉，處處聞啼鳥。\n夜來風雨聲，花落知多少。\n夏秋冬又至，明月照山河。\n\n"
NAMES = "".join(f"{a}{b}\n" for a in ("Anna", "Ber", "Lower ", "Lena") for b in ("ton", " Bridge"))
CODE = "def lamp(height):\n    return height * 2\n\n\nclass Stair:\n    pass\n\n\n"
TEXTS = {
    "book.txt": PROSE * 20,
    "lamplighter": PROSE * 20,  # a path goes before an embedded corpus, which is longer
    "places": NAMES * 20,
    "chapter.txt": PROSE * 2,
    "letters.txt": PROSE * 12,
    "poems.txt": POEM * 40,
    "names.txt": NAMES * 20,
    "src/main.py": CODE * 30,
    "good.log": "03:11:15 GET /index.html 200\n" * 60,
    "today.log": "03:11:15 GET /index.html 200\nkernel: panic\n",
}


def blocks(page: str) -> Iterator[tuple[str, str, bool]]:
    """Yield language, text and whether to run it of each block of a page."""
    for excluded, language, text in BLOCK.findall((DOCS / page).read_text("utf-8")):
        yield language, text, not excluded


def words_of(text: str) -> list[str]:
    """Split shell text into words and operators. Raise ValueError at an unclosed quote."""
    text = re.sub(r"(^|\s)#\s.*", r"\1", text).replace("\\\n", " ").replace("$'", "'")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=OPERATORS)
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t", "", True
    return list(lexer)


def is_operator(word: str) -> bool:
    """Return whether a word of `words_of` separates commands."""
    return bool(word) and set(word) <= set(OPERATORS)


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `charnn` command in shell text."""
    arguments: list[str] | None = None
    is_file = False  # whether the word is that of a redirection
    for word in [*words_of(text), "\n"]:
        if is_operator(word) or word in KEYWORDS:
            is_file = word.endswith(("<", ">"))
            if arguments is not None and not is_file:
                yield arguments
                arguments = None
        elif is_file:
            is_file = False
        elif arguments is not None:
            arguments.append(word)
        elif word == "charnn":
            arguments = []


def statements(text: str) -> Iterator[str]:
    """Yield the statements of a shell block: lines, with those that they continue on."""
    collected = ""
    for line in text.splitlines(keepends=True):
        collected += line
        try:
            words = words_of(collected)
        except ValueError:  # an unclosed quote
            continue
        is_open = words.count("for") > words.count("done") or collected.rstrip().endswith(
            ("|", "\\")
        )
        if not is_open and collected.strip():
            yield collected.strip()
            collected = ""


def shortened(statement: str) -> str:
    """Return a statement whose trainings take a few steps of a tiny network."""
    if "charnn train" not in statement:
        return statement
    statement = re.sub(
        r"--steps (\d+)", lambda found: f"--steps {max(2, int(found[1]) // 100)}", statement
    )
    statement = re.sub(r"--(minutes|epochs) \S+", "--steps 3", statement)
    statement = re.sub(r" --preset \w+", "", statement)
    if "--resume" in statement or "--config" in statement:
        return statement
    budget = "" if "--steps" in statement else " --steps 3"
    options = f"-q --preset tiny --precision float32 --threads 1{budget}"
    return statement.replace("charnn train", f"charnn train {options}")


def run_shell(folder: Path, text: str) -> None:
    """Run a shell block. What needs no shell runs in this process, without another import."""
    for statement in map(shortened, statements(text)):
        words = words_of(statement)
        if words[0] == "charnn" and not any(map(is_operator, words)) and "$" not in statement:
            assert cli.main(shlex.split(statement)[1:]) == 0, statement
        else:
            bash(folder, statement)


@pytest.mark.parametrize("page", GUIDES)
def test_the_commands_of_a_guide_run(page, tmp_path, monkeypatch) -> None:
    """Each block succeeds after those before it."""
    monkeypatch.chdir(tmp_path)
    for name, text in TEXTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    variables: dict[str, object] = {}
    for language, text, is_run in blocks(page):
        if is_run and language == "sh":
            run_shell(tmp_path, text)
        elif is_run:
            exec(compile(text, page, "exec"), variables)


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_are_valid(page) -> None:
    """Every command, argument and option exists, and every value is of the right type."""
    source = (DOCS / page).read_text("utf-8")
    shell = [text for language, text, _ in blocks(page) if language == "sh"]
    spans = CODE_SPAN.findall(source) if page in PROSE_PAGES else []
    spans = [span for span in spans if "…" not in span]
    lines = [line for text in [*shell, *spans] for line in command_lines(text)]
    for arguments in lines:
        parse([re.sub(r"^(N|\$\w+)$", "9", argument) for argument in arguments])


def parse(arguments: list[str]) -> None:
    """Parse a command line without running it. Raise an error if it is invalid."""
    command, name, rest = COMMAND, "charnn", arguments
    while rest and rest[0] in getattr(command, "commands", {}):
        command, name, rest = command.commands[rest[0]], rest[0], rest[1:]
    if command is COMMAND:  # its options act when they are parsed
        known = {option for parameter in COMMAND.params for option in parameter.opts}
        assert not arguments or arguments[0] in known, arguments
    elif rest or not hasattr(command, "commands"):
        command.make_context(name, rest)


@pytest.mark.parametrize(
    "line", ["charnn prepare --nosuch", "charnn nosuch", "charnn train --steps many"]
)
def test_an_invalid_command_line_is_noticed(line) -> None:
    """The parser of this test refuses what the program would refuse."""
    with pytest.raises((typer.TyperException, AssertionError)):
        parse(line.split()[1:])


def test_commands_are_found_in_shell_text() -> None:
    """Between pipes, loops, redirections and quotes."""
    text = (
        "for i in 1 2; do charnn a -p 'x | y'; done\n"
        "charnn b | sort > file\n"
        "paste <(charnn c) |\n  wc\n"
    )
    assert list(command_lines(text)) == [["a", "-p", "x | y"], ["b"], ["c"]]
