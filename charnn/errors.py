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
    """An option, a configuration key, or a combination of them that is not valid."""

    exit_code = 2


class DivergedError(CharnnError):
    """Training diverged: a loss, gradient or weight is not finite, and recovery failed."""

    exit_code = 3


class DataError(CharnnError):
    """Input text, a dataset or a model file that is damaged or not usable."""

    exit_code = 65


class StorageError(CharnnError):
    """A path that is missing or unreadable, a full disk, or another I/O error."""

    exit_code = 74


class BusyError(CharnnError):
    """A run or dataset folder that another process is using."""

    exit_code = 75
