"""Folder locks between processes."""

import os
import subprocess
import sys

import pytest

from charnn.errors import BusyError
from charnn.storage.lock import Lock


def test_lock_names_its_owner_and_is_released_on_kill(tmp_path) -> None:
    """A second process gets BusyError with the PID of the first, until that is killed."""
    script = (
        "import sys, time, pathlib; from charnn.storage.lock import Lock\n"
        "with Lock(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BusyError, match=f"process {holder.pid} on "), Lock(tmp_path):
            pass
        holder.kill()

    with Lock(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert not (tmp_path / ".lock").exists()


def test_shared_locks_exclude_an_exclusive_one(tmp_path) -> None:
    """The file of the lock stays until the last of them is released."""
    with Lock(tmp_path, shared=True):
        with Lock(tmp_path, shared=True):
            pass
        assert (tmp_path / ".lock").exists()
        with pytest.raises(BusyError), Lock(tmp_path):
            pass
    assert not (tmp_path / ".lock").exists()
    with Lock(tmp_path), pytest.raises(BusyError), Lock(tmp_path, shared=True):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_shared_lock_needs_no_writable_folder(tmp_path) -> None:
    """Nothing can be replaced in a folder that is read-only."""
    tmp_path.chmod(0o500)
    try:
        with Lock(tmp_path, shared=True):
            assert list(tmp_path.iterdir()) == []
    finally:
        tmp_path.chmod(0o700)
