"""A pseudo-terminal that records its output, and a clock that tests set."""

import fcntl
import os
import re
import struct
import termios
import threading

CODES = re.compile(r"\x1b\[[\d;]*m")


class Clock:
    """A clock that advances only when a test changes `now`."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class PseudoTerminal:
    """A pseudo-terminal, and everything that was written to it."""

    def __init__(self, columns, lines=24):
        self._ours, theirs = os.openpty()
        self.stream = os.fdopen(theirs, "w", encoding="utf-8", newline="")
        self.resize(columns, lines)
        self._written = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns, lines=24):
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, size)

    def _read(self):
        try:
            while data := os.read(self._ours, 4096):
                self._written.append(data)
        except OSError:  # the other end is closed
            pass

    def close(self):
        """Close it and return the output, with its original newlines."""
        self.stream.close()
        self._reader.join(5)
        os.close(self._ours)
        return b"".join(self._written).decode().replace("\r\n", "\n")


def screens(text):
    """Return the contents of a line over time."""
    return [part for part in re.split(r"[\r\n]", CODES.sub("", text).replace("\x1b[J", "")) if part]
