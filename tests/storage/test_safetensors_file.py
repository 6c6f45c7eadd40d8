"""Arrays and strings in one file: reproducible bytes, and damage that is found."""

import numpy as np
import pytest
from safetensors.numpy import load

from charnn.errors import DataError
from charnn.storage.safetensors_file import FORMAT, FORMAT_VERSION, data_start, pack, unpack

TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(3, np.float32)}
SHAPES = {name: tensor.shape for name, tensor in TENSORS.items()}
STRINGS = {FORMAT: "kind", FORMAT_VERSION: "1", "steps": "12", "text": "ä\n"}


@pytest.fixture
def path(tmp_path):
    """A file with these arrays and strings."""
    (tmp_path / "file.safetensors").write_bytes(pack(TENSORS, STRINGS))
    return tmp_path / "file.safetensors"


def read(path, kind="kind", version=1):
    return unpack(path, kind, version, "charnn test")


def test_what_is_packed_is_unpacked(path) -> None:
    """By this module, and by the library."""
    packed = read(path)
    packed.check(SHAPES, {})

    assert packed.strings == {**STRINGS, "sha256": packed.digest}
    assert packed.integer("steps") == 12
    for tensors in (packed.tensors(), load(path.read_bytes())):
        assert tensors.keys() == TENSORS.keys()
        assert all(np.array_equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_the_same_contents_are_the_same_bytes(path) -> None:
    """The arrays begin at a multiple of eight bytes."""
    assert pack(dict(reversed(TENSORS.items())), STRINGS) == path.read_bytes()
    assert data_start(path.read_bytes()) % 8 == 0


def test_a_flipped_bit_is_found(path) -> None:
    """By the SHA-256 of the arrays."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    with pytest.raises(DataError, match="SHA-256"):
        read(path).tensors()


@pytest.mark.parametrize(
    ("kind", "version", "said"),
    [("other", 1, "was not written by charnn test"), ("kind", 2, "format version '1'")],
)
def test_another_format_or_version_is_refused(path, kind, version, said) -> None:
    """The error names what was expected."""
    with pytest.raises(DataError, match=said):
        read(path, kind, version)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"a": (3,)}, "'b' is unexpected"),
        ({**SHAPES, "c": (1,)}, "'c' is missing"),
        ({**SHAPES, "a": (4,)}, "tensor a should be"),
    ],
)
def test_a_header_with_other_arrays_is_refused(path, shapes, said) -> None:
    """Before anything is allocated."""
    with pytest.raises(DataError, match=said):
        read(path).check(shapes, {})


def test_a_string_that_is_not_a_number_is_refused(path) -> None:
    """And so is one that is missing."""
    for name in ("text", "nothing"):
        with pytest.raises(DataError, match="is not a number"):
            read(path).integer(name)
