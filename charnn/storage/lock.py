"""Lock a folder for one process; the system releases the lock when the process dies."""

import os
import socket
from pathlib import Path
from typing import IO

from charnn.errors import BusyError, StorageError
from charnn.storage.atomic import storage_errors, unless_unsupported

LOCK_FILE = ".lock"


class Lock:
    """A lock on a folder, or on one `name` in it, held inside a `with` block.

    The lock is advisory (flock): it excludes other charnn processes, but not other programs. On a
    network file system it works only if the file system supports flock. Several processes may hold
    a `shared` lock, and none an exclusive one meanwhile. In a folder that is not writable, a shared
    lock has no effect: nothing there can be replaced.
    """

    def __init__(self, folder: Path, name: str = "", *, shared: bool = False) -> None:
        self._path = folder / (f"{LOCK_FILE}-{name}" if name else LOCK_FILE)
        self._target = folder / name
        self._shared = shared
        self._file: IO[str] | None = None

    def __enter__(self) -> "Lock":
        if self._shared and not os.access(self._path.parent, os.W_OK):
            return self
        with storage_errors("lock", self._path):
            self._file = self._locked()
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()
        return self

    def _locked(self) -> IO[str]:
        """Lock and return the lock file. Raise BusyError if another process holds the lock."""
        while True:
            file = self._path.open("a+", encoding="utf-8")
            try:
                _flock(file, shared=self._shared)
            except BlockingIOError:
                file.seek(0)
                owner = file.read(200).strip() or "another process"
                file.close()
                raise BusyError(
                    f"{self._target} is in use by {owner}",
                    "wait until it ends, or choose another --name",
                ) from None
            except OSError:
                file.close()
                raise
            # The previous owner may have removed the file before it was locked: then try again.
            if self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(file.fileno())):
                return file
            file.close()

    def __exit__(self, *_: object) -> None:
        if self._file:
            if self._is_last():
                self._path.unlink(missing_ok=True)
            self._file.close()

    def _is_last(self) -> bool:
        """Return whether no other process shares the lock, so that its file can be removed."""
        if self._shared and self._file:
            try:
                _flock(self._file)
            except OSError:
                return False
        return True


def is_locked(folder: Path) -> bool:
    """Return whether another process holds the lock of a folder."""
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        with Lock(folder):
            return False
    except (BusyError, StorageError):
        return True


def _flock(file: IO[str], *, shared: bool = False) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no flock: the file only names the owner
        return
    with unless_unsupported():
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
