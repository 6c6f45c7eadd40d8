"""Turn signals such as Ctrl-C into flags that training reads between two steps."""

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
    """A stop was requested; raised where stopping is safe."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP was received, as KeyboardInterrupt is for SIGINT.

    `exit_code` is the exit code of the command.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Requests:
    """Requests received as signals since the handlers were set.

    `stop` is an exit code once a stop is requested, else None; `save` is True once a save is.
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        self.save = False

    def check(self) -> None:
        """Raise StopRequestedError if a stop is requested."""
        if self.stop is not None:
            raise StopRequestedError

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        if self.stop is not None and number == signal.SIGINT:
            os._exit(self.stop)  # the second time: at once
        self.stop = STOPPING[signal.Signals(number).name]

    def _on_save(self, _: int, __: FrameType | None) -> None:
        self.save = True


@contextlib.contextmanager
def listening() -> Iterator[Requests]:
    """Set flags for signals inside the block, instead of ending the process."""
    requests = Requests()
    handlers: dict[str, Handler] = dict.fromkeys(STOPPING, requests._on_stop)
    with _handling({**handlers, SAVING: requests._on_save}):
        yield requests


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Raise Terminated for SIGTERM and SIGHUP inside the block, so that clean-up runs."""

    def unwind(number: int, _: FrameType | None) -> None:
        raise Terminated(STOPPING[signal.Signals(number).name])

    with _handling({"SIGTERM": unwind, "SIGHUP": unwind}):
        yield


@contextlib.contextmanager
def _handling(handlers: Mapping[str, Handler]) -> Iterator[None]:
    """Handle signals, by name, inside the block; ignored signals stay ignored."""
    previous: dict[int, Any] = {}
    for name, handler in handlers.items():
        number = getattr(signal, name, None)  # Windows lacks some
        in_main = (
            threading.current_thread() is threading.main_thread()
        )  # the only one that may set handlers
        if in_main and number is not None and signal.getsignal(number) != signal.SIG_IGN:
            previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
