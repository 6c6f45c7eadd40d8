"""Results as text, JSON and pictures; progress; the command that runs an experiment."""

import dataclasses
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
from charnn.display.charts import Lines
from charnn.lab import memory
from charnn.lab.experiment import (
    Check,
    Experiment,
    Finding,
    Progress,
    Table,
    as_text,
    compared,
)

EXPERIMENT = Experiment(
    name="memory",
    question="Does the loss fall as n grows?",
    claim="It falls with each token.",
    measured="The loss in nats.\nn is the length.",
    advice="Use a large n.",
)
FALLS, LOW = Check("The loss falls: 2.0 to 1.0.", True), Check("It ends below 1.5: 1.0.", True)
FAST = Check("It falls by 2: 1.0.", False)
FINDING = Finding(
    EXPERIMENT,
    tables=[Table("loss over n", ["n", "loss"], [["1", "2.0"], ["2", "1.0"]])],
    checks=[FALLS, LOW],
    charts=[Lines({"a": [(1, 2.0), (2, 1.0)]})],
    data={"losses": [2.0, float("nan")]},
)
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


def test_text_begins_with_question_claim_and_what_is_measured() -> None:
    """Then come the tables, the results as a list, advice, and where to read more."""
    assert as_text(FINDING).splitlines() == [
        "Question: Does the loss fall as n grows?",
        "Claim:    It falls with each token.",
        "Measured: The loss in nats.",
        "          n is the length.",
        "",
        "loss over n",
        "n  loss",
        "1   2.0",
        "2   1.0",
        "",
        "The claim is confirmed in all parts:",
        "- Confirmed: The loss falls: 2.0 to 1.0.",
        "- Confirmed: It ends below 1.5: 1.0.",
        "",
        "Advice:   Use a large n.",
        "Read more: docs/lab.md#memory",
    ]


def test_contradicted_parts_are_marked_and_counted() -> None:
    """In the text, and in `held`, `verdict` and `findings`."""
    finding = dataclasses.replace(FINDING, checks=[FALLS, FAST])

    assert not finding.held
    assert finding.findings == [
        "Confirmed: The loss falls: 2.0 to 1.0.",
        "Contradicted: It falls by 2: 1.0.",
    ]
    assert finding.verdict == " ".join(finding.findings)
    assert "The claim is contradicted in 1 of 2 parts:\n- Confirmed: The" in as_text(finding)
    assert "\n- Contradicted: It falls by 2: 1.0.\n" in as_text(finding)


@pytest.mark.parametrize(("width", "columns"), [(None, 80), (200, 80), (40, 40)])
def test_prose_is_wrapped_to_short_lines(width, columns) -> None:
    """To the terminal, and to at most 80 columns; continuation lines are indented."""
    about = dataclasses.replace(EXPERIMENT, claim="word " * 60)
    lines = as_text(dataclasses.replace(FINDING, experiment=about), width).splitlines()

    assert columns - 5 < max(map(len, lines)) <= columns
    assert lines[1].startswith("Claim:    word")
    assert lines[2].startswith(" " * 10 + "word")


def test_an_equation_is_not_broken_across_lines() -> None:
    """ "n = 5" stays together at every width."""
    about = dataclasses.replace(EXPERIMENT, question="Is n = 5 or n = 10 better?")
    finding = dataclasses.replace(FINDING, experiment=about)
    for width in range(20, 60):
        assert not any(
            line.endswith(("n", "=")) for line in as_text(finding, width).splitlines()[:4]
        )


def test_a_comparison_has_a_positive_number_and_a_direction() -> None:
    """Never a negative difference."""
    assert compared(1.5, 2.0) == "0.500 lower"
    assert compared(2.25, 2.0, "nats") == "0.250 nats higher"


def test_progress_numbers_the_parts_and_weights_them_by_their_cost() -> None:
    """The fraction is that of all work, not of the parts."""
    reports = []
    progress = Progress(lambda *report: reports.append(report), [1, 3])
    progress.start("first")
    progress.start("second")
    progress.update(0.5)
    assert reports == [("1 of 2: first", 0.0), ("2 of 2: second", 0.25), ("2 of 2: second", 0.625)]


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
@pytest.mark.parametrize("page", ["docs/lab.md", "docs/lab.zh.md", "README.md"])
def test_every_page_shows_what_every_experiment_printed(name, page) -> None:
    """Pasted by docs/run_lab.py: the output or its verdict, and the picture."""
    text = (ROOT / page).read_text("utf-8")
    block = f"lab {name} verdict" if page == "README.md" else f"lab {name}"
    printed = text.partition(f"<!-- {block} -->")[2].partition(f"<!-- end {block} -->")[0]

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
    assert "run without --quick to check" in capfd.readouterr().err
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
        "verdict": "Confirmed: The loss falls: 2.0 to 1.0. Confirmed: It ends below 1.5: 1.0.",
        "question": EXPERIMENT.question,
        "claim": EXPERIMENT.claim,
        "measured": EXPERIMENT.measured,
        "findings": [
            "Confirmed: The loss falls: 2.0 to 1.0.",
            "Confirmed: It ends below 1.5: 1.0.",
        ],
        "picture": str(Path("out/m.svg")),
        "losses": [2.0, None],
    }
    assert printed.err == ""
    assert Path("out/m.svg").read_text().startswith("<?xml")


def test_an_unknown_picture_format_is_refused_before_the_run(quick_memory, capfd) -> None:
    """With exit code 2."""
    assert cli.main(["lab", "memory", "-o", "picture.gif"]) == 2
    assert "neither PNG nor SVG" in capfd.readouterr().err
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
