"""Standard output: exact bytes, written in blocks, and errors of a pipe."""

import errno
import json
import os

import pytest

from charnn.display import stdout
from charnn.display.stdout import BLOCK, Output, ReaderGoneError, print_json
from charnn.errors import StorageError


@pytest.fixture
def writes(monkeypatch):
    """The pieces that the system was given; it takes at most 1,000 bytes of each."""
    pieces = []

    def write(descriptor, data):
        assert descriptor == stdout.STDOUT
        pieces.append(bytes(data[:1000]))
        return len(pieces[-1])

    monkeypatch.setattr(os, "write", write)
    return pieces


def test_bytes_are_exact_and_text_is_utf8(writes) -> None:
    """Also where the system takes part of what it is given."""
    output = Output()
    output.write(b"\xff" * 2500)
    output.line("ä")
    assert writes == []
    output.flush()

    assert b"".join(writes) == b"\xff" * 2500 + "ä\n".encode()


def test_output_is_written_in_blocks_unless_unbuffered(writes) -> None:
    """A block is full without a flush."""
    output = Output()
    output.write(b"x" * (BLOCK - 1))
    assert writes == []
    output.write(b"x")
    assert len(b"".join(writes)) == BLOCK

    Output(unbuffered=True).write(b"y")
    assert writes[-1] == b"y"


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.EPIPE, ReaderGoneError), (errno.ENOSPC, StorageError)]
)
def test_a_failed_write_is_an_error_of_charnn(monkeypatch, number, raised) -> None:
    """A closed pipe ends a command without a message."""

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    output = Output()
    output.write(b"x")
    with pytest.raises(raised) as caught:
        output.flush()

    assert bool(caught.value.message) is (raised is StorageError)
    output.flush()  # what failed is not written a second time


def test_json_is_one_line(writes) -> None:
    """What is not finite is null."""
    print_json({"loss": float("nan")})

    assert json.loads(b"".join(writes)) == {"loss": None}
    assert b"".join(writes).endswith(b"}\n")
