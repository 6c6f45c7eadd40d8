"""Requests from outside to stop or to save, as flags that a loop reads when it is safe.

Never knows: what is being stopped or saved.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOPPING = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}  # signal → exit code of the command
SAVING = "SIGUSR1"
Handler = Callable[[int, FrameType | None], None]


class Requests:
    """What has been asked for since the handlers were set.

    `stop` is the exit code once a stop is due, else None; `save` is set when a save is due.
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        self.save = False

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        if self.stop is not None and number == signal.SIGINT:
            os._exit(self.stop)  # asked twice: at once, whatever is under way
        self.stop = STOPPING[signal.Signals(number).name]

    def _on_save(self, _: int, __: FrameType | None) -> None:
        self.save = True


@contextlib.contextmanager
def listening() -> Iterator[Requests]:
    """Inside the block signals only set flags; a signal that was ignored stays ignored."""
    requests = Requests()
    handlers: dict[str, Handler] = dict.fromkeys(STOPPING, requests._on_stop)
    handlers[SAVING] = requests._on_save
    previous: dict[int, Any] = {}
    for name, handler in handlers.items():
        number = getattr(signal, name, None)  # Windows lacks some
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            previous[number] = signal.signal(number, handler)
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
