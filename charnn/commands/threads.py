"""Set the thread counts of NumPy and torch before they are imported."""

import os

# Iterations that a waiting thread of torch spins before it sleeps. The default of the library,
# milliseconds of spinning, is much slower if another process is busy (benchmarks/contention.py).
SPINS = 1000
# Thread counts of the libraries that NumPy can be built with.
NUMPY_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# Most threads of a matrix product of NumPy by default. An LSTM layer of 512 units has 8 MiB of
# weights; the parts of 8 threads, 1 MiB each, fit into the L2 cache of a core. With smaller parts
# the threads only wait for each other more often. Not measured on more than two cores.
MOST_THREADS = 8


def set_up_torch() -> None:
    """Limit how long the threads of torch spin, unless the user has set a policy."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def set_up_numpy(threads: int | None) -> None:
    """Set the number of threads of NumPy's matrix products; by default one core stays free.

    The threads of the library spin while they wait: with a thread on every core, a second busy
    process makes each product many times slower.
    """
    count = threads or max(1, min(core_count() - 1, MOST_THREADS))
    for name in NUMPY_VARIABLES:
        if threads or name not in os.environ:
            os.environ[name] = str(count)


def core_count() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
