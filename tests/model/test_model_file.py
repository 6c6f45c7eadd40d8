"""The model file: round trip, and every kind of damage."""

import dataclasses
import json
import struct

import numpy as np
import pytest

from charnn.config import ModelConfig
from charnn.errors import DataError, StorageError
from charnn.model.model_file import (
    ModelFile,
    model_bytes,
    read_model,
    write_model,
)
from charnn.model.spec import CELL_SPECS, tensor_shapes
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.unknown_model import UnknownModel


def small_model(*, tie=False, cell="lstm", **changes):
    tokenizer = CharTokenizer.build("hello there\n")
    config = ModelConfig(
        cell=cell,
        hidden_size=4,
        embedding_dim=4 if tie else 3,
        num_layers=2,
        tie_weights=tie,
        vocab_size=tokenizer.vocab_size,
    )
    random = np.random.default_rng(1)
    tensors = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    values = {
        "start_token": 0,
        "fingerprint": "f" * 64,
        "metrics": {"step": 7, "val": {"loss": 1.5}},
        "training": {"lr": 0.1},
    }
    return ModelFile(config, tokenizer, tensors=tensors, **{**values, **changes})


@pytest.fixture
def path(tmp_path):
    write_model(tmp_path / "m.safetensors", small_model())
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("cell", sorted(CELL_SPECS))
def test_written_model_is_read_back(tmp_path, tie, cell) -> None:
    """Configuration, tokenizer, bit-identical weights, and all metadata."""
    unknown_model = UnknownModel(0.25, ["é", "中"], ends=False)
    model = small_model(tie=tie, cell=cell, records=True, unknown_model=unknown_model)
    write_model(tmp_path / "m", model)
    again = read_model(tmp_path / "m")

    assert again.config == model.config
    assert again.tokenizer.pieces == model.tokenizer.pieces
    assert (again.start_token, again.records, again.fingerprint) == (0, True, "f" * 64)
    assert again.metrics == model.metrics
    assert again.training == model.training
    assert again.unknown_model
    assert again.unknown_model.to_json() == unknown_model.to_json()
    assert all(np.array_equal(again.tensors[name], t) for name, t in model.tensors.items())
    assert len(again.sha256) == 64


def test_older_file_has_no_model_of_unknown_symbols(path) -> None:
    """The header lacks it; nothing is invented."""
    assert read_model(path).unknown_model is None


def test_same_model_gives_the_same_bytes() -> None:
    """The file has no time and no path."""
    assert model_bytes(small_model()) == model_bytes(small_model())


def test_metrics_can_be_added_to_a_model(path) -> None:
    """The rewritten file differs only in its metrics."""
    model = read_model(path)
    metrics = {**model.metrics, "train": {"loss": 1.25}}
    write_model(path, dataclasses.replace(model, metrics=metrics))
    again = read_model(path)

    assert again.metrics == metrics
    assert model_bytes(dataclasses.replace(again, metrics=model.metrics)) == model_bytes(model)


def rewritten(path, *, header=None, metadata=None, tensor=None, data=None):
    """Write the file at `path` again with changes to its header or its data."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    parsed, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    parsed["__metadata__"].update(metadata or {})
    for name, change in (tensor or {}).items():
        parsed[name] = {**parsed.get(name, {}), **change} if change is not None else None
        if change is None:
            del parsed[name]
    text = header if header is not None else json.dumps(parsed)
    path.write_bytes(
        struct.pack("<Q", len(text)) + text.encode() + (data if data is not None else body)
    )


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 1000, -1])
def test_truncated_file_is_a_data_error(path, size) -> None:
    """At any length."""
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError):
        read_model(path)


def test_flipped_bit_in_the_weights_is_a_data_error(path) -> None:
    """The SHA-256 in the header does not match."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError, match="SHA-256"):
        read_model(path)


CONTRADICTIONS = {
    "overlap": {"tensor": {"layers.0.bias": {"data_offsets": [0, 64]}}},
    "wrong shape": {"tensor": {"layers.0.bias": {"shape": [4, 4]}}},
    "overflowing shape": {"tensor": {"layers.0.bias": {"shape": [2**62, 2**62]}}},
    "unknown dtype": {"tensor": {"layers.0.bias": {"dtype": "F7"}}},
    "a dtype that is none": {"tensor": {"layers.0.bias": {"dtype": None}}},
    "tensor missing": {"tensor": {"layers.0.bias": None}},
    "tensor too many": {
        "tensor": {"extra\x1b[2J": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    },
    "no header": {"header": "{}"},
    "no json": {"header": "{"},
    "a list": {"header": "[]"},
    "deep nesting": {"header": "[" * 100_000},
    "a number for a header string": {"metadata": {"config": 7}},
    "another format": {"metadata": {"format": "pt"}},
    "a newer format": {"metadata": {"format_version": "99"}},
    "no configuration": {"metadata": {"config": ""}},
    "a billion wide": {"metadata": {"config": '{"hidden_size": 1000000000, "vocab_size": 9}'}},
    "a million layers": {"metadata": {"config": '{"num_layers": 1000000, "vocab_size": 9}'}},
    "another vocabulary": {"metadata": {"config": '{"hidden_size": 4, "vocab_size": 10000}'}},
    "no tokenizer": {"metadata": {"tokenizer": "{}"}},
    "start token beyond": {"metadata": {"start_token": "1000"}},
    "start token of five thousand digits": {"metadata": {"start_token": "1" * 5000}},
    "start token negative": {"metadata": {"start_token": "-1"}},
    "metrics no object": {"metadata": {"metrics": "[]"}},
    "unknown symbols no object": {"metadata": {"unknown": "[]"}},
    "unknown symbols without probability": {"metadata": {"unknown": '{"symbols": ""}'}},
    "no hash": {"metadata": {"sha256": ""}},
    "trailing bytes": {"data": b"\0" * 10_000},
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_inconsistent_file_is_a_data_error(path, change) -> None:
    """The error names the file."""
    rewritten(path, **change)
    with pytest.raises(DataError, match=r"m\.safetensors"):
        read_model(path)


def test_repeated_key_is_a_data_error(path) -> None:
    """Two tensors with the same name are ambiguous."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = raw[8 : 8 + length].rstrip(b" ")
    doubled = header[:-1] + b',"output.bias":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    path.write_bytes(struct.pack("<Q", len(doubled)) + doubled + raw[8 + length :])
    with pytest.raises(DataError, match="repeated"):
        read_model(path)


def test_header_longer_than_the_file_allocates_nothing(path) -> None:
    """A header size of 2⁶³ bytes is compared with the size of the file."""
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(DataError):
        read_model(path)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x04\x95", b"\x80\x02}"])
def test_pickle_is_refused_by_content(path, start) -> None:
    """The message says that the file is a pickle."""
    path.write_bytes(start + b"cos\nsystem\n(S'touch marker'\ntR." * 3)
    with pytest.raises(DataError, match="pickle"):
        read_model(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_weights_are_a_data_error(tmp_path, value) -> None:
    """The message says that the model has diverged."""
    model = small_model()
    model.tensors["output.bias"][0] = value
    write_model(tmp_path / "m", model)
    with pytest.raises(DataError, match="diverged"):
        read_model(tmp_path / "m")


def test_missing_file_or_folder_is_a_storage_error(tmp_path) -> None:
    """Both cannot be read."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(StorageError):
            read_model(path)
