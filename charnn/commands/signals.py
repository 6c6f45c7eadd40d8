"""Signal handlers: set flags that training reads between steps, or raise an exception."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

STOPPING = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}  # signal → exit code of the command
SAVING = "SIGUSR1"
Handler = Callable[[int, FrameType | None], None]


class StopRequestedError(Exception):
    """Raised between two steps after a stop signal."""


class Terminated(BaseException):
    """Raised for SIGTERM and SIGHUP, like KeyboardInterrupt for SIGINT.

    `exit_code` is the exit code of the command.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Requests:
    """Requests received as signals.

    `stop` is the exit code of the first stop signal, or None; `save` is set by SIGUSR1.
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        self.save = False

    def check(self) -> None:
        """Raise StopRequestedError if a stop was requested."""
        if self.stop is not None:
            raise StopRequestedError

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        if self.stop is not None and number == signal.SIGINT:
            os._exit(self.stop)  # the second Ctrl-C ends the process immediately
        self.stop = STOPPING[signal.Signals(number).name]

    def _on_save(self, _: int, __: FrameType | None) -> None:
        self.save = True


@contextlib.contextmanager
def listening() -> Iterator[Requests]:
    """Set flags for signals in the block, instead of ending the process."""
    requests = Requests()
    handlers: dict[str, Handler] = dict.fromkeys(STOPPING, requests._on_stop)
    with _handling({**handlers, SAVING: requests._on_save}):
        yield requests


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Raise Terminated for SIGTERM and SIGHUP in the block, so that cleanup code runs."""

    def unwind(number: int, _: FrameType | None) -> None:
        raise Terminated(STOPPING[signal.Signals(number).name])

    with _handling({"SIGTERM": unwind, "SIGHUP": unwind}):
        yield


@contextlib.contextmanager
def _handling(handlers: Mapping[str, Handler]) -> Iterator[None]:
    """Install handlers by signal name in the block. Ignored signals remain ignored."""
    previous: dict[int, Any] = {}
    for name, handler in handlers.items():
        number = getattr(signal, name, None)  # None if Windows does not have it
        # Only the main thread may set handlers.
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and number is not None and signal.getsignal(number) != signal.SIG_IGN:
            previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
