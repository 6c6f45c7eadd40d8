"""Write files and folders atomically: readers see either the old or the new contents."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from charnn.errors import StorageError

TEMPORARY_PREFIX = ".tmp-"  # marks unfinished files: readers ignore them, writers remove them
REPLACED_PREFIX = ".old-"  # marks a folder being replaced; restored if that fails
SHOWN_NAMES = 5  # names of foreign files that a message lists


@contextlib.contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Convert an OSError of the block to a StorageError that names the action and the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot {action} {path}: {reason}", _hint(error)) from error


def _hint(error: OSError) -> str:
    hints = {
        errno.ENOSPC: "free some space, or write to another disk",
        errno.EACCES: "check the permissions",
        errno.EPERM: "check the permissions",
        errno.EROFS: "the file system is read-only; choose another folder",
        errno.ENOENT: "check that the path exists",
        errno.EDQUOT: "the disk quota is exceeded; free some space",
    }
    return hints.get(error.errno or 0, "")


def read_bytes(path: Path) -> bytes:
    """Return the contents of a file. Raise StorageError if it cannot be read."""
    with storage_errors("read", path):
        return path.read_bytes()


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write the file `path` atomically and durably, replacing an existing one.

    The steps are: write a temporary file in the same folder, fsync, rename, fsync the folder. The
    mode follows the umask. A symbolic link at `path` is replaced, not followed. A device or pipe
    cannot be replaced, so the bytes are written to it. Raise StorageError if a step fails; no
    temporary file is left.
    """
    with storage_errors("write", path):
        if is_device_or_pipe(path):
            with path.open("wb", buffering=0) as stream:
                _write_all(stream.fileno(), data)
            return
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}")
        temporary.unlink(missing_ok=True)
        try:
            write_new(temporary, data)
            os.rename(temporary, path)  # noqa: PTH104 - tests inject faults into this call
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def is_device_or_pipe(path: Path) -> bool:
    """Return whether this is a device, a pipe or a socket, or a link to one, such as /dev/stdout.

    This includes every path in /dev and /proc, even if it is a link to a regular file.
    """
    if path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc"):
        return path.exists()
    try:
        own, mode = path.lstat().st_mode, path.stat().st_mode
    except OSError:  # no such file, or a broken link
        return False
    ordinary = stat.S_ISREG(own) or stat.S_ISDIR(own) or stat.S_ISLNK(own)
    return not ordinary or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def write_new(path: Path, data: bytes | memoryview) -> None:
    """Create a file, write it and sync it to disk. Raise OSError if it exists or a step fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(descriptor, view[: 1 << 30]) :]


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable; do nothing if folders cannot be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        with unless_unsupported():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def unless_unsupported() -> Iterator[None]:
    """Ignore the error of an operation that the file system, often a remote one, lacks."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK):
            raise


@contextlib.contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to `path` after the block.

    With `replace`, an existing folder is replaced. Files inside must be written with `write_new`,
    which syncs them. After a failure only the old folder is left. Raise StorageError on I/O errors.
    """
    with storage_errors("write", path):
        clean_up(path.parent, path.name)
        temporary = Path(
            tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{path.name}-", dir=path.parent)
        )
        try:
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            sync_folder(temporary)
            _rename_folder(temporary, path, replace=replace)
        except BaseException:
            discard(temporary)
            raise
        sync_folder(path.parent)


def _rename_folder(temporary: Path, path: Path, *, replace: bool) -> None:
    if replace and path.exists():
        replaced = path.with_name(REPLACED_PREFIX + path.name)
        path.rename(replaced)
        try:
            temporary.rename(path)
        except BaseException:
            replaced.rename(path)
            raise
        discard(replaced)
    else:
        temporary.rename(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def make_folder(path: Path) -> None:
    """Create a folder and its parents durably. Raise StorageError if that fails."""
    with storage_errors("create", path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)


def clean_up(folder: Path, name: str | None = None) -> None:
    """Remove temporary files that a killed process left in `folder`, all or those of `name`.

    A folder whose replacement was not completed is restored. The caller must hold the lock of the
    folder, because temporary files of a running process are removed too.
    """
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        target = path.name.removeprefix(REPLACED_PREFIX)
        if target != path.name and name in (None, target):
            _restore(path, path.with_name(target))
        elif _is_temporary(path.name, name):
            discard(path)


def _restore(replaced: Path, path: Path) -> None:
    if path.exists():
        discard(replaced)
    else:
        replaced.rename(path)


def _is_temporary(entry: str, name: str | None) -> bool:
    """Return whether this is a temporary file of exactly `name`, or of any name if it is None."""
    if name is None:
        return entry.startswith(TEMPORARY_PREFIX)
    return re.fullmatch(re.escape(TEMPORARY_PREFIX + name) + "-[a-z0-9_]+", entry) is not None


def refuse_foreign(folder: Path, own: Collection[str], hint: str) -> None:
    """Raise StorageError with `hint` if a folder contains other files than those in `own`."""
    with storage_errors("read", folder):
        foreign = sorted(path.name for path in folder.iterdir() if path.name not in own)
    if foreign:
        names = ", ".join(foreign[:SHOWN_NAMES]) + " …" * (len(foreign) > SHOWN_NAMES)
        raise StorageError(f"{folder} contains files not written by charnn: {names}", hint)


def discard(path: Path) -> None:
    """Remove a file, or a folder with its contents; ignore errors."""
    with contextlib.suppress(OSError):  # rmtree raises the error of a failing close
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sha256(data: bytes | memoryview) -> str:
    """Return the SHA-256 of the bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
