"""Write results to stdout as exact bytes, and exit cleanly on a broken pipe."""

import errno
import os
import sys
from typing import Any

from charnn.display import terminal
from charnn.errors import CharnnError, StorageError
from charnn.storage.jsonio import to_json

BLOCK = 1 << 16  # bytes buffered before a write
STDOUT = 1  # file descriptor


class ReaderGoneError(CharnnError):
    """The reader of stdout has closed the pipe, as `head` does; exit without a message."""

    exit_code = 141  # the code that a shell reports for SIGPIPE


class Output:
    """Standard output as UTF-8 bytes, independent of the locale.

    Writes are buffered in blocks unless `unbuffered`. Raise ReaderGoneError if the reader has
    closed the pipe, StorageError if a write fails for another reason.
    """

    def __init__(self, *, unbuffered: bool = False) -> None:
        self._unbuffered = unbuffered
        self._pending = bytearray()

    @property
    def is_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return terminal.is_terminal(sys.stdout)

    @property
    def has_color(self) -> bool:
        """Whether colors may be written."""
        return terminal.has_color(sys.stdout)

    @property
    def has_unicode(self) -> bool:
        """Whether Unicode may be written: always to files and pipes, to a terminal by locale."""
        return not self.is_terminal or terminal.has_unicode(sys.stdout)

    def write(self, data: bytes | str) -> None:
        """Write bytes unchanged, or text as UTF-8."""
        self._pending += data.encode("utf-8", "replace") if isinstance(data, str) else data
        if self._unbuffered or len(self._pending) >= BLOCK:
            self.flush()

    def line(self, text: str) -> None:
        """Write one line of text."""
        self.write(text + "\n")

    def flush(self) -> None:
        """Write all buffered bytes to the file descriptor."""
        pending, self._pending = memoryview(bytes(self._pending)), bytearray()
        try:
            while pending:
                pending = pending[_write(pending) :]
        except BrokenPipeError:
            raise ReaderGoneError("") from None
        except OSError as error:
            raise StorageError(f"cannot write to stdout: {error.strerror}") from None


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    output = Output()
    output.line(to_json(value))
    output.flush()


def _write(data: memoryview) -> int:
    """Write a part of `data` and return its size in bytes."""
    try:
        return os.write(STDOUT, data)
    except BlockingIOError:  # a non-blocking pipe: wait until it has room
        import select

        select.select([], [STDOUT], [])
        return 0
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise BrokenPipeError from error
        raise
