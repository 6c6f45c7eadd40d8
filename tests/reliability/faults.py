"""Let the n-th system call of a piece of work fail, once or for good, fall short, or kill.

The idea is SQLite's: fail call 1, then 2, …, until the work goes through without meeting the
fault; after each, what must hold is checked.
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
FAILED = 1  # with something else than an error meant for the user
SURVIVED = 2  # the work was done although the fault was met


@dataclass
class Faults:
    """Replaces the calls of `os`, counts them, and spoils number `number`."""

    number: int
    mode: str
    error: int
    calls: int = 0

    @property
    def reached(self) -> bool:
        """Whether the fault was met."""
        return self.calls >= self.number

    def install(self) -> None:
        """For the rest of the process."""
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
    """Do the work in a child for each fault; its exit code, until no fault is met any more.

    Between two of them the caller looks at what is on disk, and puts it back. The errors take
    turns.
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
