"""Inject faults: the n-th system call fails (once or from then on), is partial, or kills.

As in the tests of SQLite, call 1 fails, then call 2, …, until the work finishes without reaching
the fault; after each fault the invariants are checked.
"""

import errno
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from charnn.errors import CharnnError

CALLS = ("open", "write", "fsync", "close", "rename", "mkdir", "chmod", "unlink", "rmdir")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
MODES = ("once", "for good", "short", "kill")
NOT_REACHED = 0
FAILED = 1  # with an error that is not meant for the user
SURVIVED = 2  # the work finished although the fault was reached


@dataclass
class Faults:
    """Replace the calls of `os`, count them, and inject a fault into call `number`."""

    number: int
    mode: str
    error: int
    calls: int = 0

    @property
    def reached(self) -> bool:
        """Return whether the fault was reached."""
        return self.calls >= self.number

    def install(self) -> None:
        """Install the faults for the rest of the process."""
        for name in CALLS:
            setattr(os, name, self._spoiled(name, getattr(os, name)))

    def _spoiled(self, name: str, call: Callable) -> Callable:
        def spoiled(*arguments, **options):
            self.calls += 1
            due = self.calls == self.number or (self.calls > self.number and "good" in self.mode)
            if not due:
                return call(*arguments, **options)
            if self.mode == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.mode == "short":
                return _short(name, call, arguments, options)
            if name == "close":  # a file is closed even where that fails
                call(*arguments)
            raise OSError(self.error, os.strerror(self.error))

        return spoiled


def _short(name, call, arguments, options):
    if name == "write":
        descriptor, data = arguments
        return call(descriptor, bytes(data)[: max(1, len(data) // 2)])
    return call(*arguments, **options)


def exit_codes(work: Callable[[], object], mode: str) -> Iterator[int]:
    """Do the work in a child for each fault and yield the exit code, until no fault is reached.

    Between two faults the caller checks and restores the files. The errors alternate.
    """
    for number in count(1):
        code = _in_child(work, Faults(number, mode, ERRORS[number % len(ERRORS)]))
        if code == NOT_REACHED:
            return
        yield code


def _in_child(work: Callable[[], object], faults: Faults) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has threads; the child does not use them
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code, leave = FAILED, os._exit
    try:
        faults.install()
        work()
        code = SURVIVED if faults.reached else NOT_REACHED
    except CharnnError as error:
        code = error.exit_code
    finally:
        leave(code)
    raise AssertionError
