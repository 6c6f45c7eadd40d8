"""Run shell commands of the documentation in Bash, with `charnn` on the path."""

import os
import subprocess
import sys
from pathlib import Path


def install_charnn(folder: Path) -> None:
    """Write an executable `bin/charnn` that runs this version of charnn."""
    program = folder / "bin" / "charnn"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error -m charnn "$@"\n')
    program.chmod(0o755)


def bash(folder: Path, commands: str) -> str:
    """Run commands in a folder that has `bin/charnn`; return stdout.

    The commands must succeed; a closed pipe (141) is success.
    """
    environment = {"PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)}
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode in (0, 141), (commands, done.returncode, done.stdout, done.stderr)
    return done.stdout
