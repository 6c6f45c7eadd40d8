"""Write every generated page of docs/ and every generated block of other pages.

With --check write nothing, and exit with 1 if a page is out of date.
"""

import sys
from pathlib import Path

from docs.generate import (
    code_layout,
    commands,
    environment,
    exit_codes,
    files,
    promises,
    python_api,
    security,
    settings,
)

ROOT = Path(__file__).resolve().parents[2]

# Pages of docs/ that are generated as a whole.
PAGES = {
    "architecture.md": code_layout.page,
    "commands.md": commands.page,
    "environment.md": environment.page,
    "exit-codes.md": exit_codes.page,
    "files.md": files.page,
    "python-api.md": python_api.page,
    "security.md": security.page,
    "settings.md": settings.page,
}
# Blocks between `<!-- NAME -->` and `<!-- end NAME -->`, and the pages that may have them.
BLOCKS = {
    "packages": code_layout.packages,
    "promises": promises.tables,
}
PAGES_WITH_BLOCKS = ("README.md", "README.zh.md", "docs/reliability.md")


def main() -> int:
    """Write what is out of date, or with --check name it. Return the exit code."""
    outdated = [(path, text) for path, text in generated() if read(path) != text]
    if "--check" in sys.argv:
        for path, _ in outdated:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`", file=sys.stderr)
        return 1 if outdated else 0
    for path, text in outdated:
        path.write_text(text, "utf-8")
    return 0


def generated() -> list[tuple[Path, str]]:
    """Return the path and the current text of every page that is generated or has blocks."""
    pages = [(ROOT / "docs" / name, make()) for name, make in PAGES.items()]
    with_blocks = [ROOT / name for name in PAGES_WITH_BLOCKS if (ROOT / name).is_file()]
    return pages + [(path, replace_blocks(read(path))) for path in with_blocks]


def read(path: Path) -> str:
    """Return the text of a file, or nothing if there is no such file."""
    return path.read_text("utf-8") if path.is_file() else ""


def replace_blocks(text: str) -> str:
    """Return a page with the contents of its generated blocks replaced."""
    for name, make in BLOCKS.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end {name} -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            text = f"{before}{begin}{make()}{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    sys.exit(main())
