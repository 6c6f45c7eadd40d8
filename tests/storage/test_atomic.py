"""Files and folders that appear whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from charnn.errors import StorageError
from charnn.storage import atomic


def test_write_file_replaces_and_leaves_nothing_else(tmp_path) -> None:
    """The new bytes are there, and no temporary file."""
    path = tmp_path / "a.bin"
    atomic.write_file(path, b"old")
    atomic.write_file(path, b"new")

    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_failing_write_keeps_the_old_file(tmp_path, monkeypatch, call) -> None:
    """A full disk at any system call: StorageError, the old bytes stay, no leftovers."""
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


def test_short_writes_are_continued(tmp_path, monkeypatch) -> None:
    """A system that writes three bytes at a time still writes them all."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    atomic.write_file(tmp_path / "a", b"0123456789")

    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_modes_follow_the_umask(tmp_path, mask, mode) -> None:
    """Files and folders get the modes that the user's umask says."""
    before = os.umask(mask)
    try:
        atomic.write_file(tmp_path / "file", b"")
        with atomic.new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask


def test_a_link_at_the_target_is_replaced_not_followed(tmp_path) -> None:
    """Writing to a symbolic link does not write through it."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("victim")
    atomic.write_file(tmp_path / "link", b"new")

    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()


def test_a_pipe_gets_the_bytes_and_stays(tmp_path) -> None:
    """As any tool writes into /dev/null; there is no other file to put in its place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic.write_file(pipe, b"state")
    received = os.read(reader, 10)
    os.close(reader)

    assert received == b"state"
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_link_to_a_device_leads_there(tmp_path) -> None:
    """As /dev/stdout is one."""
    (tmp_path / "null").symlink_to("/dev/null")
    atomic.write_file(tmp_path / "null", b"state")

    assert (tmp_path / "null").is_symlink()
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode)


def test_a_folder_that_fails_leaves_no_trace(tmp_path) -> None:
    """An exception inside the block: neither the folder nor a temporary one is there."""

    def half_way() -> None:
        with atomic.new_folder(tmp_path / "x") as new:
            (new / "half").write_bytes(b"half")
            raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        half_way()

    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_whole(tmp_path) -> None:
    """With replace, the old folder's files are gone and the new ones there."""
    for name in ("one", "two"):
        with atomic.new_folder(tmp_path / "x", replace=True) as new:
            (new / name).touch()

    assert [p.name for p in (tmp_path / "x").iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path) -> None:
    """A temporary folder from a crash goes when the same folder is written again."""
    (tmp_path / ".tmp-x-123").mkdir()
    with atomic.new_folder(tmp_path / "x"):
        pass

    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_names_of_the_system_are_never_replaced() -> None:
    """Whatever /dev/stdout leads to at the moment: a file, where the output was redirected."""
    assert atomic.is_device_or_pipe(Path("/dev/null"))
    assert atomic.is_device_or_pipe(Path("/dev/stdout")) or not Path("/dev/stdout").exists()
    assert not atomic.is_device_or_pipe(Path("/dev/no-such-thing"))
