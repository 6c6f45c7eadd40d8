"""Run the experiments of the lab, and paste what they print and draw into README.md and docs/.

`python docs/run_lab.py` runs all of them, about a minute each; with names, only those.
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
PAGES = (ROOT / "README.md", ROOT / "docs" / "lab.md", ROOT / "docs" / "lab.zh.md")
# What is run before an experiment that speaks of a dataset and its runs.
BEFORE = {"baselines": [["prepare", "-q"], ["train", "--epochs", "8", "-q"]]}


def main() -> int:
    """Run what was named, or everything, and put the outcome into its place."""
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
        put(f"lab {name} verdict", printed.split("\n\n")[-1])
    return 0


def charnn(arguments: list[str], folder: str) -> str:
    """Return what a command prints on stdout; its progress goes to our stderr."""
    command = [sys.executable, "-m", "charnn", *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


def put(name: str, content: str) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end NAME -->` on the pages."""
    block = f"<!-- {name} -->\n{content}\n<!-- end {name} -->"
    for page in PAGES:
        text = page.read_text("utf-8")
        page.write_text(
            re.sub(rf"<!-- {name} -->.*?<!-- end {name} -->", lambda _: block, text, flags=re.S),
            "utf-8",
        )


if __name__ == "__main__":
    sys.exit(main())
