"""Fixtures that run commands as subprocesses in a temporary folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import fork_server

LAMP = (
    "The lamp on the stair will not stay lit, said the keeper of the light.\n"
    "Then light it again, said the sea, for I have all the time there is.\n"
    "And the keeper took her ladder, and went up, and the wind went with her.\n"
)
# Options of `train` for a network that is trained in a second, without measuring the machine
QUICK = (
    *("--hidden-size", "32", "--embedding-dim", "8", "--batch-size", "8", "--bptt", "16"),
    *("--precision", "float32", "--threads", "1"),
)


class Shell:
    """Run charnn in one working folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self, **changes: str) -> dict[str, str]:
        names = ("PATH", "HOME", "PYTHONPATH")
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        return {**inherited, "CHARNN_CACHE_DIR": str(self.folder / "cache"), **changes}

    def command(self, *arguments: str) -> list[str]:
        """Return a command line that starts a process of its own."""
        return [sys.executable, "-W", "error", "-m", "charnn", *arguments]

    def run(self, *arguments, **options):
        """Return a finished command, which ran in a fork of a loaded process."""
        return self._finished([fork_server.client(), *map(str, arguments)], **options)

    def run_program(self, *arguments, **options):
        """Return a finished command, which ran in a process of its own."""
        return self._finished(self.command(*map(str, arguments)), **options)

    def _finished(self, command, code=0, text=True, env=None, **options):
        """Return the finished process, whose exit code must be `code`."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(**(env or {})),
            capture_output=True,
            encoding="utf-8" if text else None,
            stdin=None if "input" in options else subprocess.DEVNULL,
            timeout=120,
            **options,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def start(self, *arguments, **options):
        """Start a process without waiting for its end."""
        return subprocess.Popen(
            self.command(*map(str, arguments)),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            **options,
        )

    def bash(self, command: str, **environment: str):
        """Run a command line in bash with pipefail; return the process, with output as bytes."""
        script = f'set -o pipefail\ncharnn() {{ {" ".join(self.command())} "$@"; }}\n{command}'
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            timeout=60,
        )

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path


@pytest.fixture
def shell(tmp_path) -> Shell:
    """An empty working folder."""
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Shell:
    """A folder with a dataset `lamp` and a run `lamp-lstm-001`; tests only read it."""
    shell = Shell(tmp_path_factory.mktemp("trained"))
    shell.write("lamp.txt", LAMP * 40)
    shell.run("prepare", "lamp.txt")
    shell.run("train", "--preset", "tiny", "--steps", "40")
    return shell


@pytest.fixture
def own(trained, tmp_path) -> Shell:
    """A folder of the test's own with only the dataset `lamp` and the run `lamp-lstm-001`."""
    for name in ("data/lamp", "runs/lamp-lstm-001"):
        shutil.copytree(trained.folder / name, tmp_path / name)
    shutil.copy(trained.folder / "lamp.txt", tmp_path)
    return Shell(tmp_path)
