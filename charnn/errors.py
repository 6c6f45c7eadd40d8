"""Exceptions that are reported to the user, and their exit codes."""


class CharnnError(Exception):
    """Base class of the errors that are reported to the user.

    `message` says what failed, and for which file or option. It may quote untrusted files, so
    control characters must be escaped before it is printed. `hint` is a remedy, preferably a
    command to type.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CharnnError):
    """A wrong option, argument or setting, a name that does not exist, or conflicting options."""

    exit_code = 2


class DivergedError(CharnnError):
    """A training run with values that are not finite, after all attempts to recover."""

    exit_code = 3


class DataError(CharnnError):
    """Invalid input text, or a damaged dataset, model or other file."""

    exit_code = 65


class StorageError(CharnnError):
    """A missing or unreadable path, a full disk, or another failure of input or output."""

    exit_code = 74


class BusyError(CharnnError):
    """A run or dataset that another process uses."""

    exit_code = 75
