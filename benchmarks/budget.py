"""How well `charnn train --minutes M` keeps to its minutes; prints a Markdown table.

    python benchmarks/budget.py TEXT [TEXT…] [--minutes 0.5 1 2] [--busy 2]

The clock runs from the start of the process to its end, so that loading, choosing, validation,
saving and the figures at the end are in it. Each run is made twice: alone, and beside so many
processes that compute and begin when a third of the time is over.
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
BEGINS_AFTER = 1 / 3  # of the time


def main() -> None:
    parser = argparse.ArgumentParser(description="How long a budget in minutes takes.")
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--minutes", nargs="+", type=float, default=[0.5, 1, 2])
    parser.add_argument("--busy", type=int, default=2, help="Processes that compute beside it.")
    options = parser.parse_args()
    print(f"{title('torch')}\n")
    headers = ("text", "tokens", "minutes", "beside it", "seconds in all", "off by", "aim")
    print_table(headers, rows(options))


def rows(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    for text in options.texts:
        with tempfile.TemporaryDirectory() as folder:
            name = prepared(text.resolve(), "char", folder)
            size = f"{len(text.read_text('utf-8')):,}"
            for minutes in options.minutes:
                for busy in (0, options.busy):
                    seconds = measured(minutes, busy, folder)
                    off = seconds / (60 * minutes) - 1
                    beside = f"{busy} processes" if busy else "nothing"
                    row = (name, size, f"{minutes:g}", beside, f"{seconds:.1f}", f"{off:+.1%}")
                    yield (*row, "≤ 5 %")


def measured(minutes: float, busy: int, folder: str) -> float:
    """Seconds of a whole `charnn train`, as a person starts it."""
    command = [sys.executable, "-m", "charnn", "train", "--minutes", str(minutes)]
    with disturbance(busy, 60 * minutes * BEGINS_AFTER):
        begin = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - begin


@contextlib.contextmanager
def disturbance(busy: int, after: float) -> Iterator[None]:
    """So many processes that compute, from so many seconds on until the block ends."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        processes.extend(subprocess.Popen(BUSY) for _ in range(busy))

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
