"""The exceptions that are meant for the user, and their exit codes."""


class CharnnError(Exception):
    """A failure meant for the user: what happened and where, then what to do about it.

    `message` may quote names out of untrusted files; whoever prints it makes control characters
    visible. `hint` is a remedy, best one that can be typed.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CharnnError):
    """A flag, a configuration key or a combination of them that makes no sense."""

    exit_code = 2


class DivergedError(CharnnError):
    """Training ran into numbers that are not finite, and could not recover."""

    exit_code = 3


class DataError(CharnnError):
    """Input text, a dataset or a model file that is damaged or cannot be used."""

    exit_code = 65


class StorageError(CharnnError):
    """A path that is missing or unreadable, a full disk, an output gone wrong."""

    exit_code = 74


class BusyError(CharnnError):
    """A run or dataset folder that another process is writing."""

    exit_code = 75
