"""Run the experiments of the lab and paste their output and pictures into docs/.

`python docs/run_lab.py [NAME…]` runs all of them, about a minute each, or only those named.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import typer.main

from charnn.cli import app

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PAGES = (ROOT / "docs" / "lab.md", ROOT / "docs" / "lab.zh.md")
# Commands to run before an experiment that needs a dataset and a run.
BEFORE = {"baselines": [["prepare", "-q"], ["train", "--epochs", "8", "-q"]]}


def main() -> int:
    """Run the named experiments, or all, and update the pages."""
    known = list(typer.main.get_command(app).commands["lab"].commands)  # type: ignore[attr-defined]
    for name in sys.argv[1:] or known:
        assert name in known, f"no experiment {name}; there are {', '.join(known)}"
        picture = f"lab-{name}.svg"
        with tempfile.TemporaryDirectory() as folder:
            commands = [*BEFORE.get(name, []), ["lab", name, "-o", picture]]
            printed = [charnn(command, folder) for command in commands][-1].strip("\n")
            shutil.copy(Path(folder) / picture, IMAGES / picture)
        typed = "\n".join(f"$ charnn {' '.join(command)}" for command in commands)
        put(f"lab {name}", f"```text\n{typed}\n{printed}\n```")
    return 0


def charnn(arguments: list[str], folder: str) -> str:
    """Run a command and return its stdout; its stderr is passed through."""
    command = [sys.executable, "-m", "charnn", *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


def put(name: str, content: str) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- end NAME -->` on the pages."""
    block = f"<!-- {name} -->\n{content}\n<!-- end {name} -->"
    for page in PAGES:
        text = page.read_text("utf-8")
        page.write_text(
            re.sub(rf"<!-- {name} -->.*?<!-- end {name} -->", lambda _: block, text, flags=re.S),
            "utf-8",
        )


if __name__ == "__main__":
    sys.exit(main())
