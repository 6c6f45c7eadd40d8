"""Folder locks between processes."""

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
