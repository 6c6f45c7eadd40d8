"""Write results to stdout: exact bytes, and a clean exit on a broken pipe."""

import errno
import os
import sys

from charnn.errors import CharnnError, StorageError


class ReaderGoneError(CharnnError):
    """The reader of stdout went away (`| head`). Nothing is said about it."""

    exit_code = 141  # what a shell reports for a program ended by SIGPIPE


class Output:
    """Standard output as UTF-8 bytes, whatever the locale.

    Buffered in blocks unless `unbuffered`; `flush` pushes on what has been written. Raises
    ReaderGoneError when the reader went away, StorageError when writing fails otherwise.
    """

    def __init__(self, *, unbuffered: bool = False) -> None:
        self._unbuffered = unbuffered
        self._pending = bytearray()

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it."""
        return sys.stdout is not None and sys.stdout.isatty()

    def write(self, data: bytes | str) -> None:
        """Write bytes as they are, or text as UTF-8."""
        self._pending += data.encode("utf-8", "replace") if isinstance(data, str) else data
        if self._unbuffered or len(self._pending) >= BLOCK:
            self.flush()

    def line(self, text: str) -> None:
        """Write one line of text."""
        self.write(text + "\n")

    def flush(self) -> None:
        """Hand everything written so far to the system."""
        pending, self._pending = memoryview(bytes(self._pending)), bytearray()
        try:
            while pending:
                pending = pending[_write(pending) :]
        except BrokenPipeError:
            raise ReaderGoneError("") from None
        except OSError as error:
            raise StorageError(f"cannot write to stdout: {error.strerror}") from None


BLOCK = 1 << 16  # bytes collected before a write
STDOUT = 1


def _write(data: memoryview) -> int:
    try:
        return os.write(STDOUT, data)
    except BlockingIOError:  # a pipe that somebody made non-blocking: wait until it has room
        import select

        select.select([], [STDOUT], [])
        return 0
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise BrokenPipeError from error
        raise
