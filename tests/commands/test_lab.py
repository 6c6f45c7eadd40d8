"""`charnn lab`: one command for each experiment; tables, pictures and JSON."""

import importlib
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
from charnn.lab import memory
from charnn.lab.experiment import as_text
from tests.lab.test_experiment import EXPERIMENT, FINDING

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = typer.main.get_command(cli.app).commands["lab"].commands


@pytest.fixture
def quick_memory(monkeypatch, tmp_path):
    """`charnn lab memory` returns FINDING; the current folder is tmp_path."""
    monkeypatch.chdir(tmp_path)
    given = {}

    def run(*, seed, quick, tell):
        given.update(seed=seed, quick=quick)
        tell("working", 0.5)
        return FINDING

    monkeypatch.setattr(memory, "run", run)
    return given


@pytest.mark.parametrize("name", COMMANDS)
def test_every_experiment_says_what_it_is_about(name) -> None:
    """Question, claim, what is measured, advice; its name is that of its command."""
    about = importlib.import_module(f"charnn.lab.{name}").EXPERIMENT

    assert about.name == name
    assert about.question.endswith("?")
    for text in (about.claim, about.measured, about.advice):
        assert text.endswith(".")


def test_every_experiment_has_a_command() -> None:
    """The commands are the modules with a function `run`."""
    folder = Path(charnn.lab.__file__).parent
    with_run = {
        path.stem.replace("_", "-")
        for path in folder.glob("*.py")
        if "\ndef run(" in path.read_text("utf-8")
    }
    assert set(COMMANDS) == with_run


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("page", ["docs/lab.md", "docs/lab.zh.md"])
def test_every_page_shows_what_every_experiment_printed(name, page) -> None:
    """The output that docs/run_lab.py pasted, and the picture."""
    text = (ROOT / page).read_text("utf-8")
    printed = text.partition(f"<!-- lab {name} -->")[2].partition(f"<!-- end lab {name} -->")[0]

    assert "The claim" in printed
    assert f"images/lab-{name}.svg)" in text
    assert (ROOT / "docs" / "images" / f"lab-{name}.svg").stat().st_size > 1000


def test_the_command_prints_the_result_and_draws_its_picture(quick_memory, capfd) -> None:
    """The result on stdout, notes on stderr; the default folder of pictures is lab/."""
    assert cli.main(["lab", "memory", "--seed", "7"]) == 0
    printed = capfd.readouterr()
    assert printed.out == as_text(FINDING) + "\n"
    assert printed.err == f"wrote {Path('lab') / 'memory.png'}\n"
    assert Path("lab/memory.png").stat().st_size > 1000
    assert quick_memory == {"seed": 7, "quick": False}


def test_a_quick_run_warns_of_noise(quick_memory, capfd) -> None:
    """On stderr, after the result."""
    assert cli.main(["lab", "memory", "--quick"]) == 0
    assert "repeat it without --quick" in capfd.readouterr().err
    assert quick_memory == {"seed": 1, "quick": True}


def test_the_command_as_json(quick_memory, capfd) -> None:
    """One object: the options, question and claim, the results, and all measurements."""
    assert cli.main(["lab", "memory", "--json", "-q", "-o", "out/m.svg"]) == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out) == {
        "experiment": "memory",
        "seed": 1,
        "quick": False,
        "held": True,
        "verdict": " ".join(map(str, FINDING.checks)),
        "question": EXPERIMENT.question,
        "claim": EXPERIMENT.claim,
        "measured": EXPERIMENT.measured,
        "findings": [
            "Confirmed: The losses fall: they are 2.0 and 1.0.",
            "Confirmed: The last one is below 1.5: it is 1.0.",
        ],
        "picture": str(Path("out/m.svg")),
        "losses": [2.0, None],
    }
    assert printed.err == ""
    assert Path("out/m.svg").read_text().startswith("<?xml")


def test_an_unknown_picture_format_is_refused_before_the_run(quick_memory, capfd) -> None:
    """With exit code 2."""
    assert cli.main(["lab", "memory", "-o", "picture.gif"]) == 2
    assert "unknown picture format" in capfd.readouterr().err
    assert quick_memory == {}


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for other processes")
def test_an_interrupted_experiment_writes_nothing(tmp_path) -> None:
    """Exit code 130, no traceback, no picture."""
    process = subprocess.Popen(
        [sys.executable, "-m", "charnn", "lab", "memory"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    time.sleep(3)  # after the imports, during training
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # Python ends by the signal itself, 130 in a shell too, if it came while a library was
    # executing a string.
    assert process.returncode in (130, -signal.SIGINT)
    assert (out, err) == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_quick_run_takes_less_than_15_seconds(name, tmp_path) -> None:
    """Of processor time, imports and picture included."""
    resource = pytest.importorskip("resource")

    def run(*arguments) -> None:
        command = [sys.executable, "-m", "charnn", *arguments, "-q"]
        subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)

    if name == "baselines":
        run("prepare")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run("lab", name, "--quick")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 15
