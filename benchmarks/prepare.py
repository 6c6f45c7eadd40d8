"""Measure the speed and memory of `charnn prepare` on 100 MB of text; print a Markdown table.

    python benchmarks/prepare.py [--megabytes N] [--rounds N]

Times are those of whole processes, with the file in the page cache. Rates are medians over the
rounds, in which the tokenizers alternate; memory is the largest resident set of any round.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from machine import measured, print_table, spread, title
from random_data import random_text

MEGA = 1_000_000
MIN_RATE = 50  # MB/s
MAX_MEMORY = 600  # MB
TOKENIZERS = ("char", "byte")


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of charnn prepare.")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{title('numpy')}\n")
    header = ("tokenizer", "seconds", "MB/s", "target", "peak memory", "target")
    print_table(header, rows(options.megabytes, options.rounds))


def rows(megabytes: int, rounds: int) -> Iterator[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        write_text(text, megabytes)
        taken = {kind: [] for kind in TOKENIZERS}
        for _ in range(rounds):
            for kind in TOKENIZERS:
                taken[kind].append(prepare(text, kind))
    for kind, results in taken.items():
        seconds, memory = zip(*results, strict=True)
        yield (
            kind,
            spread(seconds),
            f"{megabytes / statistics.median(seconds):.0f}",
            f"≥ {MIN_RATE}",
            f"{max(memory) / MEGA:.0f} MB",
            f"< {MAX_MEMORY} MB",
        )


def write_text(path: Path, megabytes: int) -> None:
    """Write lines of random ASCII words: one megabyte, repeated."""
    megabyte = random_text(MEGA).encode("ascii")
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(megabyte)


def prepare(text: Path, kind: str) -> tuple[float, int]:
    """Return the seconds and the peak memory in bytes of one `charnn prepare`."""
    with tempfile.TemporaryDirectory(dir=text.parent) as data:
        options = ["--tokenizer", kind, "--data-dir", data, "--quiet"]
        return measured([sys.executable, "-m", "charnn", "prepare", str(text), *options])


if __name__ == "__main__":
    main()
