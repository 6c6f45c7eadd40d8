"""Set the thread counts of NumPy and torch before they are imported."""

import os

# Iterations that a waiting thread of torch spins before it sleeps. The default of the library, a
# few milliseconds, is much slower if other processes use the CPU (benchmarks/contention.py).
SPINS = 1000
# Environment variables of the libraries that NumPy can be built with.
NUMPY_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# Default maximum of threads for matrix products in NumPy. An LSTM layer of 512 units has 8 MiB of
# weights; with 8 threads, each part of 1 MiB fits into the L2 cache of a core. More threads only
# add synchronization. Not measured on more than two cores.
MOST_THREADS = 8


def set_up_torch() -> None:
    """Limit the spinning of waiting threads of torch, unless the user has set a policy."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def set_up_numpy(threads: int | None) -> None:
    """Set the number of threads for matrix products in NumPy; by default, leave one core free.

    Waiting threads spin. With a thread on every core, another busy process makes each product many
    times slower.
    """
    count = threads or max(1, min(core_count() - 1, MOST_THREADS))
    for name in NUMPY_VARIABLES:
        if threads or name not in os.environ:
            os.environ[name] = str(count)


def core_count() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not available on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
