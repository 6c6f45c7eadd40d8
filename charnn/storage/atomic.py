"""Write files and folders atomically: a reader sees the old contents or the new, never a part."""

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

TEMPORARY = ".tmp-"  # prefix of everything unfinished; ignored by readers, removed by writers
OUTGOING = ".old-"  # prefix of a folder that makes way; it comes back if its successor never does
CHUNK = 1 << 20
SHOWN_NAMES = 5  # of what is in the way, in a message


@contextlib.contextmanager
def storage_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that says what failed, and where."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot {doing} {path}: {reason}", _remedy(error)) from error


def _remedy(error: OSError) -> str:
    remedies = {
        errno.ENOSPC: "free some space, or write to another disk",
        errno.EACCES: "check the permissions",
        errno.EPERM: "check the permissions",
        errno.EROFS: "the file system is read-only; write elsewhere",
        errno.ENOENT: "check the spelling of the path",
        errno.EDQUOT: "the quota is used up; free some space",
    }
    return remedies.get(error.errno or 0, "")


def read_bytes(path: Path) -> bytes:
    """All bytes of a file. Raises StorageError."""
    with storage_errors("read", path):
        return path.read_bytes()


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Replace `path` by `data` in one step that survives a power cut.

    Temp file in the same folder, fsync, rename, fsync of the folder; modes follow the umask, and
    a symbolic link at `path` is replaced, not followed. A device or a pipe cannot be replaced: the
    bytes are written into it. Raises StorageError, leaving no temp file.
    """
    with storage_errors("write", path):
        if takes_bytes(path):
            with path.open("wb", buffering=0) as stream:
                _write_all(stream.fileno(), data)
            return
        temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
        temporary.unlink(missing_ok=True)
        try:
            write_new(temporary, data)
            os.rename(temporary, path)  # noqa: PTH104 - the system call is what is promised
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def takes_bytes(path: Path) -> bool:
    """Whether this is a device, a pipe or a socket, or a link to one, as /dev/stdout may be."""
    if path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc"):
        return path.exists()  # whatever it stands for, the name is the system's
    try:
        own, mode = path.lstat().st_mode, path.stat().st_mode
    except OSError:  # nothing is there, or a link to nothing
        return False
    ordinary = stat.S_ISREG(own) or stat.S_ISDIR(own) or stat.S_ISLNK(own)
    return not ordinary or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def write_new(path: Path, data: bytes | memoryview) -> None:
    """Write a file that is not there yet, through to the disk. Raises OSError."""
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
    """Make renames inside `folder` durable (a no-op where folders cannot be opened)."""
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
    """Do without what some file systems, most of them remote, do not offer."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK):
            raise


@contextlib.contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `path` by one rename when the block ends well.

    With `replace` an existing folder makes way at that moment. The files inside are to be
    written by `write_new`. Whatever goes wrong, no trace is left but the old folder.
    Raises StorageError.
    """
    with storage_errors("write", path):
        clean_up(path.parent, path.name)
        temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent))
        try:
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            sync_folder(temporary)
            _swap_in(temporary, path, replace=replace)
        except BaseException:
            discard(temporary)
            raise
        sync_folder(path.parent)


def _swap_in(temporary: Path, path: Path, *, replace: bool) -> None:
    if replace and path.exists():
        outgoing = path.with_name(OUTGOING + path.name)
        path.rename(outgoing)
        try:
            temporary.rename(path)
        except BaseException:
            outgoing.rename(path)
            raise
        discard(outgoing)
    else:
        temporary.rename(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def make_folder(path: Path) -> None:
    """Make a folder and those above it, for good; one that is there is left alone.

    Raises StorageError.
    """
    with storage_errors("make", path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)


def clean_up(folder: Path, name: str | None = None) -> None:
    """Remove what a killed process left behind while it wrote `name`, or anything, in `folder`.

    A folder that had made way, but was not replaced yet, comes back. Only for whoever may write
    there: what another process is writing would be taken for a leftover.
    """
    for left in list(folder.iterdir()) if folder.is_dir() else []:
        if left.name.startswith(OUTGOING) and name in (None, left.name.removeprefix(OUTGOING)):
            _put_back(left)
        elif _is_temporary(left.name, name):
            discard(left)


def _put_back(outgoing: Path) -> None:
    path = outgoing.with_name(outgoing.name.removeprefix(OUTGOING))
    if path.exists():
        discard(outgoing)
    else:
        outgoing.rename(path)


def _is_temporary(entry: str, name: str | None) -> bool:
    """Whether this is unfinished; of `name`, not of another that begins like it."""
    if name is None:
        return entry.startswith(TEMPORARY)
    return re.fullmatch(re.escape(TEMPORARY + name) + "-[a-z0-9_]+", entry) is not None


def refuse_foreign(folder: Path, own: Collection[str], hint: str) -> None:
    """Raises StorageError with `hint` if there is more in a folder than what is ours by name."""
    with storage_errors("read", folder):
        foreign = sorted(path.name for path in folder.iterdir() if path.name not in own)
    if foreign:
        some = ", ".join(foreign[:SHOWN_NAMES]) + " …" * (len(foreign) > SHOWN_NAMES)
        raise StorageError(f"{folder} holds what charnn did not write: {some}", hint)


def discard(path: Path) -> None:
    """Remove a file, or a folder with all in it, as far as that can be done."""
    with contextlib.suppress(OSError):  # rmtree ignores errors, but not that of a failing close
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sha256(data: bytes | memoryview) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()
