"""Findings as text and pictures, and the command that conducts an experiment."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.main

import charnn.lab
from charnn import cli
from charnn.display.charts import Lines
from charnn.lab import memory
from charnn.lab.experiment import Check, Finding, Table, as_text, verdict_of

FINDING = Finding(
    tables=[Table("loss over n", ["n", "loss"], [["1", "2.0"], ["2", "1.0"]])],
    verdict="It falls.",
    held=True,
    charts=[Lines({"a": [(1, 2.0), (2, 1.0)]})],
    data={"losses": [2.0, float("nan")]},
)
ROOT = Path(__file__).resolve().parents[2]
COMMANDS = typer.main.get_command(cli.app).commands["lab"].commands


@pytest.fixture
def quick_memory(monkeypatch, tmp_path):
    """`charnn lab memory` with a finding of its own, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    given = {}

    def run(*, seed, quick, tell):
        given.update(seed=seed, quick=quick)
        tell("working")
        return FINDING

    monkeypatch.setattr(memory, "run", run)
    return given


def test_a_verdict_is_one_sentence_that_marks_what_is_contradicted() -> None:
    """Clauses in order, a capital at the beginning, a full stop at the end."""
    checks = [Check("a is 1", held=True), Check("b is 2", held=False)]
    assert verdict_of(checks) == "A is 1; NOT so here: b is 2."


def test_a_finding_as_text() -> None:
    """Its tables with their titles, and whether the claim held, with the verdict."""
    assert as_text(FINDING).splitlines() == [
        "loss over n",
        "n  loss",
        "1   2.0",
        "2   1.0",
        "",
        "The claim held. It falls.",
    ]


def test_every_experiment_has_a_command_and_the_other_way_round() -> None:
    """Whatever has a `run` can be run; what has none serves those that have."""
    folder = Path(charnn.lab.__file__).parent
    with_run = {
        path.stem.replace("_", "-")
        for path in folder.glob("*.py")
        if "\ndef run(" in path.read_text("utf-8")
    }
    assert set(COMMANDS) == with_run


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("page", ["docs/lab.md", "docs/lab.zh.md", "README.md"])
def test_every_page_shows_what_every_experiment_printed(name, page) -> None:
    """Pasted by docs/run_lab.py: the output or its verdict, and the picture."""
    text = (ROOT / page).read_text("utf-8")
    block = f"lab {name} verdict" if page == "README.md" else f"lab {name}"
    printed = text.partition(f"<!-- {block} -->")[2].partition(f"<!-- end {block} -->")[0]

    assert "The claim" in printed
    assert f"images/lab-{name}.svg)" in text
    assert (ROOT / "docs" / "images" / f"lab-{name}.svg").stat().st_size > 1000


def test_the_command_prints_the_finding_and_draws_its_picture(quick_memory, capfd) -> None:
    """The table goes to stdout, where the picture went to stderr; by default into lab/."""
    assert cli.main(["lab", "memory", "--seed", "7", "--quick"]) == 0
    printed = capfd.readouterr()
    assert printed.out == as_text(FINDING) + "\n"
    assert printed.err == f"wrote {Path('lab') / 'memory.png'}\n"
    assert Path("lab/memory.png").stat().st_size > 1000
    assert quick_memory == {"seed": 7, "quick": True}


def test_the_command_as_json(quick_memory, capfd) -> None:
    """One object: what was asked, what was found, all that was measured."""
    assert cli.main(["lab", "memory", "--json", "-q", "-o", "out/m.svg"]) == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out) == {
        "experiment": "memory",
        "seed": 1,
        "quick": False,
        "held": True,
        "verdict": "It falls.",
        "picture": str(Path("out/m.svg")),
        "losses": [2.0, None],
    }
    assert printed.err == ""
    assert Path("out/m.svg").read_text().startswith("<?xml")


def test_a_picture_of_another_kind_is_refused_before_anything_runs(quick_memory, capfd) -> None:
    """Nobody waits a minute to learn that the name was wrong."""
    assert cli.main(["lab", "memory", "-o", "picture.gif"]) == 2
    assert "unknown picture format" in capfd.readouterr().err
    assert quick_memory == {}


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for others there")
def test_an_interrupted_experiment_leaves_nothing_behind(tmp_path) -> None:
    """Exit code 130, no traceback, no picture."""
    process = subprocess.Popen(
        [sys.executable, "-m", "charnn", "lab", "memory"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    time.sleep(3)  # past the imports, into the training
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # Python ends by the signal itself, 130 in a shell too, if it came while a library was
    # executing a string.
    assert process.returncode in (130, -signal.SIGINT)
    assert (out, err) == ("", "")
    assert list(tmp_path.iterdir()) == []
