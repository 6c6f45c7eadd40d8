"""Fixtures of the reliability tests: tiny runs, and commands that run in this process."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from charnn import cli
from charnn.config import TrainConfig
from charnn.data.dataset import Dataset
from charnn.data.splits import split_text
from charnn.training.events import Event, Noted, Result, Validating
from charnn.training.resolve import resolve_machine
from charnn.training.trainer import Trainer
from tests.shell.conftest import LAMP, Shell
from tests.tiny import written_dataset

TINY = {
    "hidden_size": 8,
    "embedding_dim": 4,
    "batch_size": 4,
    "bptt": 8,
    "warmup_steps": 5,
    "steps": 30,
    "dropout": 0.3,
    "precision": "float32",
    "optimizer": "adamw",
}


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """Reset the flushing of denormals, which a run sets for its process."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Use one thread: the networks are tiny, and a forked child has only one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch):
    """Disable fsync: the tests check the order of calls, not the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Dataset:
    """Return a dataset of two kilobytes of English characters; tests only read it."""
    folder = tmp_path_factory.mktemp("data") / "lamp"
    return written_dataset(folder, split_text(LAMP * 10, 0.1, 0))


@pytest.fixture
def new_trainer(dataset, tmp_path) -> Callable[..., Trainer]:
    """Return a function that builds a trainer of a tiny run; with `create` also its folder."""

    def build_trainer(name="run", *, create=True, **settings) -> Trainer:
        asked = TrainConfig(**{**TINY, **settings})
        config = resolve_machine(asked, dataset).config
        trainer = Trainer(dataset, config, tmp_path / name)
        if create:
            trainer.folder.create(force=False)
            trainer.record_config()
        return trainer

    return build_trainer


def logged_events(trainer: Trainer) -> Iterator[Event]:
    """Return the events of a run without progress, notes and result."""
    return (e for e in trainer.events() if not isinstance(e, Validating | Noted | Result))


def weights(trainer: Trainer) -> list[torch.Tensor]:
    """Return a copy of all weights."""
    return [tensor.detach().clone() for tensor in trainer.loop.model.named_tensors().values()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Return whether all tensors are equal, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@dataclass
class Done:
    """The result of a command."""

    code: int
    stdout: bytes
    stderr: str


class Commands:
    """Run commands in this process, in a separate working folder."""

    def __init__(self, folder: Path, capture) -> None:
        self.folder, self._capture = folder, capture

    def run(self, *arguments, code=0) -> Done:
        """Run one command and return its result; its exit code must be `code`."""
        self._capture.readouterr()
        found = cli.main([str(argument) for argument in arguments])
        stdout, stderr = self._capture.readouterr()
        done = Done(found, stdout, stderr.decode())
        assert done.code == code, done
        return done

    def refused(self, *arguments, code, said=()) -> str:
        """Run a command that must fail with one message and no output; return the message."""
        done = self.run(*arguments, code=code)
        assert done.stdout == b""
        assert done.stderr.count("charnn: error: ") == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "this is a bug in charnn" not in done.stderr, done.stderr
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in done.stderr if c != "\n")
        for words in (said,) if isinstance(said, str) else said:
            assert words in done.stderr, done.stderr
        return done.stderr

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file in the working folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def datasets(self) -> list[str]:
        """Return the names in data/, hidden ones included."""
        folder = self.folder / "data"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def charnn(tmp_path, monkeypatch, capfdbinary) -> Commands:
    """Return commands in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARNN_CACHE_DIR", str(tmp_path / "cache"))
    return Commands(tmp_path, capfdbinary)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory) -> Path:
    """Return a folder with a dataset `lamp` and a run `lamp-lstm-001`, to be copied."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "lamp.txt").write_text(LAMP * 10)
    places = ("--data-dir", str(folder / "data"), "-q")
    assert cli.main(["prepare", str(folder / "lamp.txt"), *places]) == 0
    arguments = ["--steps", "6", "--save-every", "3", "--hidden-size", "8", "--embedding-dim", "4"]
    arguments += ["--precision", "float32", "--runs-dir", str(folder / "runs"), *places]
    assert cli.main(["train", *arguments]) == 0
    torch.set_flush_denormal(False)
    return folder


@pytest.fixture
def trained(charnn, workplace) -> Commands:
    """Return commands in a copy of `workplace`, which a test may damage."""
    shutil.copytree(workplace, charnn.folder, dirs_exist_ok=True)
    return charnn


@pytest.fixture
def shell(tmp_path) -> Shell:
    """Return commands that run as separate processes, in an empty working folder."""
    return Shell(tmp_path)
