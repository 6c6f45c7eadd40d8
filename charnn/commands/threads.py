"""Set the thread counts of NumPy and torch before they are imported."""

import os

# Threads that wait for each other spin this often before they sleep. The library's own value keeps
# them spinning for milliseconds: a little faster alone, ten times slower beside another busy
# process (benchmarks/README.md).
SPINS = 1000


def set_up_torch() -> None:
    """Let torch's threads share the machine; what the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def set_up_numpy(threads: int | None) -> None:
    """Let NumPy's products use so many threads; by default one core stays free for others.

    The threads of its library wait by spinning: with as many as cores, a second busy process
    slows every product down many times over.
    """
    count = threads or max(1, min(core_count() - 1, MOST_THREADS))
    for library in ("OPENBLAS", "OMP", "MKL", "VECLIB"):
        name = f"{library}_NUM_THREADS"
        if threads or name not in os.environ:
            os.environ[name] = str(count)


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


MOST_THREADS = 8  # a step of these sizes gains nothing from more
