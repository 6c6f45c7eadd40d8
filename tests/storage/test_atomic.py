"""Atomic writes of files and folders."""

import errno
import os
import stat
from pathlib import Path

import pytest

from charnn.errors import StorageError
from charnn.storage import atomic


def test_write_file_replaces_and_leaves_no_temporary_file(tmp_path) -> None:
    """The file has the new bytes and is the only one in the folder."""
    path = tmp_path / "a.bin"
    atomic.write_file(path, b"old")
    atomic.write_file(path, b"new")

    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch, call) -> None:
    """A full disk at any system call is a StorageError and leaves no temporary file."""
    path = tmp_path / "a.bin"
    atomic.write_file(path, b"old")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StorageError, match="No space left"):
            atomic.write_file(path, b"new")

    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_partial_writes_are_continued(tmp_path, monkeypatch) -> None:
    """All bytes are written even if each system call writes only three."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    atomic.write_file(tmp_path / "a", b"0123456789")

    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_modes_follow_the_umask(tmp_path, mask, mode) -> None:
    """New files and folders have the modes that the umask allows."""
    before = os.umask(mask)
    try:
        atomic.write_file(tmp_path / "file", b"")
        with atomic.new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask


def test_symbolic_link_is_replaced_not_followed(tmp_path) -> None:
    """The target of a symbolic link is not overwritten."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("victim")
    atomic.write_file(tmp_path / "link", b"new")

    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()


def test_pipe_is_written_to_not_replaced(tmp_path) -> None:
    """A pipe receives the bytes and remains a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic.write_file(pipe, b"state")
    received = os.read(reader, 10)
    os.close(reader)

    assert received == b"state"
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_link_to_a_device_is_followed(tmp_path) -> None:
    """The link remains a link, like /dev/stdout."""
    (tmp_path / "null").symlink_to("/dev/null")
    atomic.write_file(tmp_path / "null", b"state")

    assert (tmp_path / "null").is_symlink()
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode)


def test_failed_new_folder_leaves_nothing(tmp_path) -> None:
    """After an exception in the block there is neither the folder nor a temporary one."""

    def fail() -> None:
        with atomic.new_folder(tmp_path / "x") as new:
            (new / "half").write_bytes(b"half")
            raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_folder_is_replaced_with_all_of_its_files(tmp_path) -> None:
    """With replace, only the new files are in the folder."""
    for name in ("one", "two"):
        with atomic.new_folder(tmp_path / "x", replace=True) as new:
            (new / name).touch()

    assert [p.name for p in (tmp_path / "x").iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_temporary_folder_of_a_killed_process_is_removed(tmp_path) -> None:
    """It is removed when the same folder is written again."""
    (tmp_path / ".tmp-x-123").mkdir()
    with atomic.new_folder(tmp_path / "x"):
        pass

    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_paths_in_dev_are_never_replaced() -> None:
    """/dev/stdout counts as a device even if stdout is redirected to a regular file."""
    assert atomic.is_device_or_pipe(Path("/dev/null"))
    assert atomic.is_device_or_pipe(Path("/dev/stdout")) or not Path("/dev/stdout").exists()
    assert not atomic.is_device_or_pipe(Path("/dev/no-such-thing"))
