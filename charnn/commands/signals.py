"""Turn signals into flags that a loop reads between two steps."""

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
    """It is time to stop: raised where that is safe."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP, unwinding what is under way as KeyboardInterrupt does for SIGINT.

    `exit_code` is that of the command.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Requests:
    """What has been asked for since the handlers were set.

    `stop` is the exit code once a stop is due, else None; `save` is set when a save is due.
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        self.save = False

    def check(self) -> None:
        """Raise StopRequestedError once a stop is due."""
        if self.stop is not None:
            raise StopRequestedError

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        if self.stop is not None and number == signal.SIGINT:
            os._exit(self.stop)  # asked twice: at once, whatever is under way
        self.stop = STOPPING[signal.Signals(number).name]

    def _on_save(self, _: int, __: FrameType | None) -> None:
        self.save = True


@contextlib.contextmanager
def listening() -> Iterator[Requests]:
    """Inside the block signals only set flags."""
    requests = Requests()
    handlers: dict[str, Handler] = dict.fromkeys(STOPPING, requests._on_stop)
    with _handling({**handlers, SAVING: requests._on_save}):
        yield requests


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise Terminated, so that nothing half-written stays."""

    def unwind(number: int, _: FrameType | None) -> None:
        raise Terminated(STOPPING[signal.Signals(number).name])

    with _handling({"SIGTERM": unwind, "SIGHUP": unwind}):
        yield


@contextlib.contextmanager
def _handling(handlers: Mapping[str, Handler]) -> Iterator[None]:
    """Handle signals, by name, inside the block; one that was ignored stays ignored."""
    previous: dict[int, Any] = {}
    for name, handler in handlers.items():
        number = getattr(signal, name, None)  # Windows lacks some
        in_main = threading.current_thread() is threading.main_thread()  # nowhere else is allowed
        if in_main and number is not None and signal.getsignal(number) != signal.SIG_IGN:
            previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
