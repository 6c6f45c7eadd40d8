"""Run shell commands of the documentation in Bash, with `charnn` on the path."""

import os
import subprocess
from pathlib import Path

from tests import fork_server


def bash(folder: Path, commands: str) -> str:
    """Run commands in a folder; return stdout.

    The commands must succeed; a closed pipe (141) is success.
    """
    programs = fork_server.client().parent
    environment = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)}
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
