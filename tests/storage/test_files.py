"""Files that appear whole or not at all, and JSON that every parser takes."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from charnn.display.messages import visible
from charnn.errors import DataError, StorageError
from charnn.storage import files


def test_write_file_replaces_and_leaves_nothing_else(tmp_path) -> None:
    """The new bytes are there, and no temporary file."""
    path = tmp_path / "a.bin"
    files.write_file(path, b"old")
    files.write_file(path, b"new")

    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_failing_write_keeps_the_old_file(tmp_path, monkeypatch, call) -> None:
    """A full disk at any system call: StorageError, the old bytes stay, no leftovers."""
    path = tmp_path / "a.bin"
    files.write_file(path, b"old")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StorageError, match="No space left"):
            files.write_file(path, b"new")

    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_short_writes_are_continued(tmp_path, monkeypatch) -> None:
    """A system that writes three bytes at a time still writes them all."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    files.write_file(tmp_path / "a", b"0123456789")

    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_modes_follow_the_umask(tmp_path, mask, mode) -> None:
    """Files and folders get the modes that the user's umask says."""
    before = os.umask(mask)
    try:
        files.write_file(tmp_path / "file", b"")
        with files.new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask


def test_a_link_at_the_target_is_replaced_not_followed(tmp_path) -> None:
    """Writing to a symbolic link does not write through it."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("victim")
    files.write_file(tmp_path / "link", b"new")

    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()


def test_a_pipe_gets_the_bytes_and_stays(tmp_path) -> None:
    """As any tool writes into /dev/null; there is no other file to put in its place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write_file(pipe, b"state")
    received = os.read(reader, 10)
    os.close(reader)

    assert received == b"state"
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_link_to_a_device_leads_there(tmp_path) -> None:
    """As /dev/stdout is one."""
    (tmp_path / "null").symlink_to("/dev/null")
    files.write_file(tmp_path / "null", b"state")

    assert (tmp_path / "null").is_symlink()
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode)


def test_a_folder_that_fails_leaves_no_trace(tmp_path) -> None:
    """An exception inside the block: neither the folder nor a temporary one is there."""

    def half_way() -> None:
        with files.new_folder(tmp_path / "x") as new:
            (new / "half").write_bytes(b"half")
            raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        half_way()

    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_whole(tmp_path) -> None:
    """With replace, the old folder's files are gone and the new ones there."""
    for name in ("one", "two"):
        with files.new_folder(tmp_path / "x", replace=True) as new:
            (new / name).touch()

    assert [p.name for p in (tmp_path / "x").iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path) -> None:
    """A temporary folder from a crash goes when the same folder is written again."""
    (tmp_path / ".tmp-x-123").mkdir()
    with files.new_folder(tmp_path / "x"):
        pass

    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_json_has_null_for_what_is_not_finite() -> None:
    """NaN and infinities inside lists and objects become null."""
    text = files.to_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": "é"})

    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": "é"}


def test_json_has_nothing_that_steers_a_terminal() -> None:
    """Every character that is made visible elsewhere is an escape here, of the same value."""
    everything = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    text = files.to_json(everything)

    assert visible(text) == text
    assert json.loads(text) == everything
    assert files.to_json("\u200d\u200c é") == '"\u200d\u200c é"'
    assert files.to_json({"\x9b\u202e": 1}) == r'{"\u009b\u202e": 1}'


def test_json_can_always_be_encoded() -> None:
    """Bytes that are no text, as `sample --raw` may have them, are U+FFFD."""
    assert files.to_json("a\udcff") == '"a\ufffd"'


@pytest.mark.parametrize(
    "text", ["[1]", '{"a":1,"a":2}', '{"a":NaN}', "{", "[" * 100_000, '{"a":"\ud800"'], ids=range(6)
)
def test_bad_json_is_a_data_error(text) -> None:
    """Lists, repeated keys, NaN, torn and bottomless JSON: DataError, nothing else."""
    with pytest.raises(DataError, match=r"x\.json is damaged"):
        files.parse_json_object(text, "x.json")


def test_a_torn_last_line_is_left_out(tmp_path) -> None:
    """What follows the last newline was never finished."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"step":1}\n{"step":2}\n{"st')

    assert files.read_json_lines(path) == [{"step": 1}, {"step": 2}]


def test_names_of_the_system_are_never_replaced() -> None:
    """Whatever /dev/stdout leads to at the moment: a file, where the output was redirected."""
    assert files.takes_bytes(Path("/dev/null"))
    assert files.takes_bytes(Path("/dev/stdout")) or not Path("/dev/stdout").exists()
    assert not files.takes_bytes(Path("/dev/no-such-thing"))
