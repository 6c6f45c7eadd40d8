"""Describe the machine, measure commands and print tables, for all benchmarks."""

import datetime
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path


def title(*packages: str, remarks: Sequence[str] = ()) -> str:
    """Return one line: processor, cores, remarks; versions of Python and packages; the date."""
    versions = [f"{name} {version(name)}" for name in ("charnn", *packages)]
    machine = ", ".join([processor(), f"{cores()} cores", *remarks])
    software = ", ".join([f"Python {platform.python_version()}", *versions])
    return f"{machine}; {software}; {datetime.date.today()}"


def processor() -> str:
    """Return the name of the processor as the system reports it."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text("utf-8").splitlines() if cpu.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def measured(command: Sequence[str]) -> tuple[float, int]:
    """Return the seconds and the peak memory in bytes of a command, which must succeed.

    Its standard output is discarded.
    """
    discarded = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    start = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=[discarded])
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    assert status == 0, f"{command} ended with {os.waitstatus_to_exitcode(status)}"
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return seconds, usage.ru_maxrss * unit


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table, each row as soon as it is measured."""
    print(f"| {' | '.join(header)} |")
    print("|---" * len(header) + "|")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format the median and the range of values."""
    shown = [f"{value:,.{digits}f}" for value in (min(values), max(values))]
    return f"{statistics.median(values):,.{digits}f} ({' – '.join(shown)})"
