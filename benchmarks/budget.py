"""Measure how accurately `charnn train --minutes M` keeps its budget, and how load affects it.

    python benchmarks/budget.py TEXT [TEXT…] [--minutes 0.5 1 2] [--busy 2] [--first-seconds 5]

The time is that of the whole process, including loading, the choice of a preset, validation, saving
and the final scores. Each run is made three times: alone, with busy processes that start after a
third of the time, and with busy processes in the first seconds, when the speed is measured. Prints
a Markdown table.
"""

import argparse
import contextlib
import json
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
    parser.add_argument("--first-seconds", type=float, default=5.0)
    options = parser.parse_args()
    print(f"{title('torch')}\n")
    print_table(
        ("text", "minutes", "busy processes", "seconds", "error", "target", "loss", "weights"),
        rows(options),
    )


def rows(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    for text in options.texts:
        with tempfile.TemporaryDirectory() as folder:
            name = prepared(text.resolve(), "char", folder)
            label = f"{name} ({len(text.read_text('utf-8')):,})"
            for minutes in options.minutes:
                late = 60 * minutes * START_AFTER
                for when, start, stop in (
                    ("none", 0.0, 0.0),
                    (f"{options.busy} after a third", late, 60 * minutes),
                    (
                        f"{options.busy} in the first {options.first_seconds:g} s",
                        0.0,
                        options.first_seconds,
                    ),
                ):
                    with busy_processes(options.busy, start, stop):
                        seconds, run = measured(minutes, folder)
                    error = seconds / (60 * minutes) - 1
                    figures = (f"{seconds:.1f}", f"{error:+.1%}", "≤ 5 %")
                    loss, weights = f"{run['val']['loss']:.4f}", f"{run['parameters']:,}"
                    yield label, f"{minutes:g}", when, *figures, loss, weights


def measured(minutes: float, folder: str) -> tuple[float, dict]:
    """Return the wall-clock seconds of a whole `charnn train` process, and its result."""
    command = [sys.executable, "-m", "charnn", "train", "--minutes", str(minutes), "--json"]
    begin = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - begin, json.loads(done.stdout)


@contextlib.contextmanager
def busy_processes(count: int, start: float, stop: float) -> Iterator[None]:
    """Run busy processes from `start` to `stop`, in seconds from the beginning of the block."""
    started: list[subprocess.Popen[bytes]] = []

    def launch() -> None:
        started.extend(subprocess.Popen(BUSY) for _ in range(count))

    def end() -> None:
        for process in started:
            process.kill()
            process.wait()

    timers = [threading.Timer(start, launch), threading.Timer(stop, end)] if stop > start else []
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()
        end()


if __name__ == "__main__":
    main()
