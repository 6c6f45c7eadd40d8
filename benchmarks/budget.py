"""Measure how accurately `charnn train --minutes M` keeps its budget; print a Markdown table.

    python benchmarks/budget.py TEXT [TEXT…] [--minutes 0.5 1 2] [--busy 2]

The time is that of the whole process, including loading, the choice of a preset, validation, saving
and the final scores. Each run is made twice: alone, and with busy processes that start after a
third of the time.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine import print_table, title
from quality import prepared

BUSY = [sys.executable, "-c", "while True: sum(range(10**6))"]
START_AFTER = 1 / 3  # of the time


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of a time budget.")
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--minutes", nargs="+", type=float, default=[0.5, 1, 2])
    parser.add_argument("--busy", type=int, default=2, help="Number of busy processes.")
    options = parser.parse_args()
    print(f"{title('torch')}\n")
    headers = ("text", "tokens", "minutes", "busy processes", "seconds", "error", "target")
    print_table(headers, rows(options))


def rows(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    for text in options.texts:
        with tempfile.TemporaryDirectory() as folder:
            name = prepared(text.resolve(), "char", folder)
            size = f"{len(text.read_text('utf-8')):,}"
            for minutes in options.minutes:
                for busy in (0, options.busy):
                    seconds = measured(minutes, busy, folder)
                    error = seconds / (60 * minutes) - 1
                    row = (name, size, f"{minutes:g}", f"{busy}", f"{seconds:.1f}")
                    yield (*row, f"{error:+.1%}", "≤ 5 %")


def measured(minutes: float, busy: int, folder: str) -> float:
    """Return the wall-clock seconds of a whole `charnn train` process."""
    command = [sys.executable, "-m", "charnn", "train", "--minutes", str(minutes)]
    with busy_processes(busy, 60 * minutes * START_AFTER):
        begin = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - begin


@contextlib.contextmanager
def busy_processes(count: int, after: float) -> Iterator[None]:
    """Run busy processes from `after` seconds on until the block ends."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        processes.extend(subprocess.Popen(BUSY) for _ in range(count))

    timer = threading.Timer(after, begin)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
