"""Rows F of the table of faults: signals stop a run, or save its state, at once.

Most tests run in this process, where the moment of a signal can be chosen; a few run whole commands
in separate processes.
"""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charnn.commands.signals import listening
from charnn.evaluation.metrics import Score
from charnn.storage import atomic
from charnn.training import run_plan, training
from charnn.training.checkpoint import load_newest
from charnn.training.loop import TrainLoop
from charnn.training.run_folder import RunFolder
from charnn.training.time_budget import TimeBudget
from charnn.training.trainer import Trainer
from tests.reliability.conftest import Commands

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


RUN = "lamp-lstm-001"


def before_call(monkeypatch, owner, name, number, act):
    """Call `act` just before the n-th call of a method."""
    method, calls = getattr(owner, name), itertools.count(1)

    def counting(*arguments, **options):
        if next(calls) == number:
            act()
        return method(*arguments, **options)

    monkeypatch.setattr(owner, name, counting)


def send(number):
    return lambda: os.kill(os.getpid(), number)


def newest_step(trained: Commands) -> int:
    return load_newest(trained.folder / "runs" / RUN)[0].header.counters.step


def resume(trained: Commands, code: int):
    return trained.run("train", "--resume", RUN, "--steps", "40", "--eval-every", "5", code=code)


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_f1_f2_a_signal_during_a_step_saves_after_it(trained, monkeypatch, number) -> None:
    """130 or 143, a checkpoint of that step, and the command that resumes the run."""
    before_call(monkeypatch, TrainLoop, "update", 3, send(number))
    done = resume(trained, CODES[number])

    assert newest_step(trained) == 9
    assert "stopped at step 9; the state is saved" in done.stderr
    command = f"train --resume {Path('runs') / RUN}"
    assert done.stderr.splitlines()[-1] == f"resume with: charnn {command}"
    assert Commands.run(trained, *command.split(), "-q").stdout.endswith(b"model.safetensors\n")


def test_f1_a_second_interrupt_ends_the_process_at_once(trained) -> None:
    """Also during a save; the previous checkpoint is unchanged."""
    script = (
        "import os, signal, sys\n"
        "from charnn import cli\n"
        "from charnn.training import trainer\n"
        "interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "def save(*_):\n"
        "    interrupt()\n"
        "    interrupt()\n"
        "    raise AssertionError\n"
        "trainer.capture = save\n"
        f"sys.exit(cli.main(['train', '--resume', '{RUN}', '--steps', '40', '-q']))"
    )
    before = newest_step(trained)
    done = subprocess.run([sys.executable, "-c", script], cwd=trained.folder, capture_output=True)

    assert done.returncode == 130
    assert done.stderr == b""
    assert newest_step(trained) == before


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_f2_a_signal_interrupts_a_validation(trained, monkeypatch, number) -> None:
    """The state is saved, and the validation is repeated on resuming."""
    from charnn.evaluation import evaluate

    before_call(monkeypatch, evaluate, "_nats_of", 1, send(number))
    monkeypatch.setattr(evaluate, "CHUNK", 4)  # tokens a pass
    done = resume(trained, CODES[number])

    assert "stopped at step 10" in done.stderr
    assert load_newest(trained.folder / "runs" / RUN)[0].header.counters.evaluated_at < 10
    monkeypatch.undo()
    monkeypatch.chdir(trained.folder)
    rows = resume(trained, 0) and (trained.folder / "runs" / RUN / "metrics.jsonl").read_text()
    assert rows.count('"split": "val", "step": 10,') == 1


def test_f2_a_signal_during_the_final_scores_saves_the_last_weights(trained, monkeypatch) -> None:
    """The best model is being scored then, but the checkpoint has the last weights."""
    final_scores, last = Trainer._final_scores, {}

    def interrupted(trainer, *arguments):
        tensors = trainer.loop.model.named_tensors()
        last.update({f"model.{name}": tensor.clone() for name, tensor in tensors.items()})
        os.kill(os.getpid(), signal.SIGTERM)
        return (yield from final_scores(trainer, *arguments))

    worse = Score(9e9, 0, 1, 1, 1)
    monkeypatch.setattr(Trainer, "_final_scores", interrupted)
    monkeypatch.setattr(Trainer, "_validate", lambda *_: iter([worse]))
    resume(trained, 143)
    state, _ = load_newest(trained.folder / "runs" / RUN)

    assert state.header.counters.best_step < state.header.counters.step == 40
    assert last
    for name, tensor in last.items():
        assert tensor.equal(state.tensors[name])


def test_f2_a_signal_does_not_interrupt_a_save(trained, monkeypatch) -> None:
    """Handlers only set flags, so the checkpoint is complete."""
    before_call(monkeypatch, atomic, "new_folder", 1, send(signal.SIGTERM))
    done = trained.run("train", "--resume", RUN, "--steps", "40", "--save-every", "2", code=143)

    assert newest_step(trained) == 8
    assert "stopped at step 8" in done.stderr


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_f2_a_signal_during_prepare_leaves_no_files(trained, monkeypatch, number) -> None:
    """Neither a dataset nor a temporary folder; the exit code tells which signal it was."""
    before_call(monkeypatch, atomic, "write_new", 2, send(number))
    done = trained.run("prepare", "lamp.txt", "--name", "new", code=CODES[number])

    assert "Traceback" not in done.stderr
    assert trained.datasets() == ["lamp"]


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (run_plan, "plan_run"),
        (training, "resolve"),
        (Trainer, "__init__"),
        (RunFolder, "write_config"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_f2_a_signal_before_the_first_step_leaves_no_run(
    trained, monkeypatch, owner, name, number
) -> None:
    """One line says so, at any moment of the start-up."""
    before_call(monkeypatch, owner, name, 1, send(number))
    done = trained.run("train", "--steps", "5", "--hidden-size", "8", code=CODES[number])

    assert done.stderr.splitlines()[-1] == "stopped before the first step; nothing was saved"
    assert done.stdout == b""
    assert [path.name for path in (trained.folder / "runs").iterdir()] == [RUN]
    assert not list(trained.folder.rglob(".lock*"))


@pytest.mark.parametrize("name", ["__init__", "events"])
def test_f2_a_signal_before_the_first_step_leaves_a_resumed_run(trained, monkeypatch, name) -> None:
    """Unchanged; the last line is the command that resumes it."""
    run = trained.folder / "runs" / RUN
    files = ("model.safetensors", "checkpoints/step-00000006/state.safetensors")
    before = [(run / file).read_bytes() for file in files]
    before_call(monkeypatch, Trainer, name, 1, send(signal.SIGINT))
    done = resume(trained, 130)

    assert "stopped before the first step; nothing was saved\nresume with: " in done.stderr
    assert [(run / file).read_bytes() for file in files] == before
    assert newest_step(trained) == 6


def test_f2_sigterm_ends_a_process_after_one_step_and_a_save(trained) -> None:
    """In a separate process, as under a batch system."""
    process = start(trained, "--save-every", "1000000")
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    _, rest = process.communicate(timeout=60)

    assert time.monotonic() - begin < 10
    assert process.returncode == 143
    assert f"resume with: charnn train --resume runs/{RUN}" in rest
    assert newest_step(trained) > 6


def start(trained, *arguments, **options):
    """Start a training process and wait until it has taken some steps."""
    many = "1000000"
    command = ["charnn", "train", "--resume", RUN, "--steps", many, "--eval-every", many]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, *arguments],
        cwd=trained.folder,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **options,
    )
    assert process.stderr is not None
    log = trained.folder / "runs" / RUN / "metrics.jsonl"
    before = log.stat().st_size
    for _ in range(600):
        if log.stat().st_size > before:
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("command", ["eval", "lab", "sample"])
def test_f2_a_signal_stops_any_other_command(trained, monkeypatch, command, number) -> None:
    """130 or 143, no traceback, and no unfinished files."""
    from charnn.evaluation import evaluate
    from charnn.model.numpy_model import NumpyStreams

    arguments = {"eval": (), "lab": ("memory", "--quick"), "sample": ("-n", "-1", "--seed", "1")}
    place = {"eval": (evaluate, "_nats_of"), "lab": (TrainLoop, "update")}
    owner, name = place.get(command, (NumpyStreams, "step"))
    before_call(monkeypatch, owner, name, 1, send(number))
    before = sorted(trained.folder.rglob("*"))
    done = trained.run(command, *arguments[command], code=CODES[number])

    assert "Traceback" not in done.stderr
    assert sorted(trained.folder.rglob("*")) == before


def test_f3_sigusr1_saves_a_checkpoint_and_training_continues(trained, monkeypatch) -> None:
    """The run ends as it would have without the signal."""
    before_call(monkeypatch, TrainLoop, "update", 3, send(signal.SIGUSR1))
    done = resume(trained, 0)

    assert f"saved {Path('runs') / RUN / 'checkpoints' / 'step-00000009'}" in done.stderr
    assert newest_step(trained) == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_f4_an_ignored_signal_stays_ignored(trained, monkeypatch, number) -> None:
    """As under nohup, or after `&` in a script."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        before_call(monkeypatch, TrainLoop, "update", 3, send(number))
        resume(trained, 0)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_f4_signal_handlers_are_restored(trained) -> None:
    """A Python program that calls charnn has its own handlers again."""
    before = {number: signal.getsignal(number) for number in (*CODES, signal.SIGUSR1)}
    with listening():
        pass
    trained.run("info", RUN)

    assert {number: signal.getsignal(number) for number in before} == before


def test_f7_the_step_time_recovers_from_a_pause() -> None:
    """SIGSTOP and SIGCONT make one step long; the estimate soon forgets it."""
    now = [0.0]
    pace = TimeBudget(clock=lambda: now[0])
    for step in range(200):
        with pace.stepping():
            now[0] += 1000 if step == 20 else 0.1
        if step == 20:
            assert pace.step_seconds > 10

    assert pace.step_seconds == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("option", [(), ("--resume", RUN)], ids=["new", "resume"])
def test_f5_one_rank_of_several_is_refused(trained, monkeypatch, option) -> None:
    """No signal can reach one rank alone. A single rank of torchrun is accepted."""
    updates = []
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "4")
        patch.setenv("RANK", "3")
        patch.setattr(TrainLoop, "update", lambda _: updates.append(1))
        trained.refused("train", *option, "--steps", "8", code=2, said="rank 3 of 4")
    monkeypatch.setenv("WORLD_SIZE", "1")
    trained.run("train", "--resume", RUN, "--steps", "7", "-q")

    assert updates == []
