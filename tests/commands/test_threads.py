"""Thread counts: defaults, and the choices of the user."""

import os

import pytest

from charnn.commands import threads

COUNT = "OPENBLAS_NUM_THREADS"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove the thread settings from the environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith(("_NUM_THREADS", "_SPINCOUNT", "_WAIT_POLICY"))
    }
    monkeypatch.setattr(os, "environ", kept)
    return kept


@pytest.mark.parametrize(("cores", "count"), [(1, "1"), (2, "1"), (4, "3"), (64, "8")])
def test_numpy_leaves_one_core_free(environment, monkeypatch, cores, count) -> None:
    """Except on a single core; at most MOST_THREADS are used."""
    monkeypatch.setattr(threads, "core_count", lambda: cores)
    threads.set_up_numpy(None)

    assert environment[COUNT] == count


def test_threads_option_overrides_the_environment(environment) -> None:
    """Without the option, variables of the user are kept."""
    environment[COUNT] = "5"
    threads.set_up_numpy(None)
    assert environment[COUNT] == "5"

    threads.set_up_numpy(12)
    assert environment[COUNT] == "12"


def test_torch_spin_count(environment) -> None:
    """OMP_WAIT_POLICY and GOMP_SPINCOUNT of the user are kept."""
    threads.set_up_torch()
    assert environment["GOMP_SPINCOUNT"] == str(threads.SPINS)

    environment["GOMP_SPINCOUNT"] = "7"
    threads.set_up_torch()
    assert environment["GOMP_SPINCOUNT"] == "7"

    del environment["GOMP_SPINCOUNT"]
    environment["OMP_WAIT_POLICY"] = "ACTIVE"
    threads.set_up_torch()
    assert "GOMP_SPINCOUNT" not in environment


def test_core_count() -> None:
    """There is at least one."""
    assert 1 <= threads.core_count() <= (os.cpu_count() or 1)
