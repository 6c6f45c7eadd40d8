"""Write results to stdout: exact bytes, and a clean exit on a broken pipe."""

import errno
import os
import sys
from typing import Any

from charnn.display import terminal
from charnn.errors import CharnnError, StorageError
from charnn.storage.jsonio import to_json

BLOCK = 1 << 16  # bytes collected before a write
STDOUT = 1  # file descriptor


class ReaderGoneError(CharnnError):
    """The reader of stdout closed the pipe (`| head`); nothing is printed about it."""

    exit_code = 141  # as a shell reports for SIGPIPE


class Output:
    """Standard output as UTF-8 bytes, whatever the locale.

    Writes are buffered in blocks unless `unbuffered`. Raises ReaderGoneError when the reader has
    closed the pipe, StorageError when writing fails otherwise.
    """

    def __init__(self, *, unbuffered: bool = False) -> None:
        self._unbuffered = unbuffered
        self._pending = bytearray()

    @property
    def is_terminal(self) -> bool:
        """Whether it is a terminal."""
        return terminal.is_terminal(sys.stdout)

    @property
    def has_color(self) -> bool:
        """Whether colors may be written."""
        return terminal.has_color(sys.stdout)

    @property
    def has_unicode(self) -> bool:
        """Whether it shows Unicode; files and pipes do."""
        return not self.is_terminal or terminal.has_unicode(sys.stdout)

    def write(self, data: bytes | str) -> None:
        """Write bytes as they are, or text as UTF-8."""
        self._pending += data.encode("utf-8", "replace") if isinstance(data, str) else data
        if self._unbuffered or len(self._pending) >= BLOCK:
            self.flush()

    def line(self, text: str) -> None:
        """Write one line of text."""
        self.write(text + "\n")

    def flush(self) -> None:
        """Pass everything written so far to the system."""
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
    """Write some of the data and return how many bytes."""
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
