"""One file that is a whole model: weights, shape, tokenizer, provenance; written and checked.

The format is safetensors with strings in its header; docs/format.md states it in full. Nothing in
it is executed, and nothing is believed before it is checked: sizes against the file, shapes
against the configuration, the vocabulary against both, the tensors against their SHA-256.
Never knows: torch, the training loop.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn import files
from charnn.config import ModelConfig, validate
from charnn.errors import DataError, UsageError
from charnn.tokenizer import Tokenizer
from charnn.tokenizer_file import dump_tokenizer, load_tokenizer

FORMAT = "charnn-model"
FORMAT_VERSION = 1
MAX_HEADER = 100_000_000  # bytes; the limit of safetensors itself
LENGTH_PREFIX = 8  # bytes of little-endian header length at the start of the file
GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "rnn": ("h",)}

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ModelFile:
    """A model as plain values. `tensors` are float32 under the names of `tensor_shapes`.

    `start_token` is the id before the first token of any text; `metrics` is the validation score
    the model was kept for; `fingerprint` identifies the dataset it was trained on; `training` says
    how (the resolved settings); `records` is set where each line of the corpus is a text of its
    own.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    start_token: int
    tensors: Mapping[str, Array]
    fingerprint: str = ""
    records: bool = False
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def parameters(self) -> int:
        """Number of weights; a tied matrix counts once."""
        return sum(tensor.size for tensor in self.tensors.values())


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model of this configuration."""
    vocabulary, width = config.vocab_size, config.hidden_size
    rows = len(GATES[config.cell]) * width
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocabulary, config.embedding_dim)}
    for layer in range(config.num_layers):
        columns = config.embedding_dim if layer == 0 else width
        shapes[f"layers.{layer}.weight_ih"] = (rows, columns)
        shapes[f"layers.{layer}.weight_hh"] = (rows, width)
        shapes[f"layers.{layer}.bias"] = (rows,)
    if not config.tie_weights:
        shapes["output.weight"] = (vocabulary, width)
    shapes["output.bias"] = (vocabulary,)
    return shapes


def textbook_names(name: str, cell: str) -> str:
    """What the textbooks call a tensor: W_xh, W_hh, b_h, W_hq, b_q, and one letter a gate."""
    kind = name.rsplit(".", 1)[-1]
    symbols = {"weight_ih": "W_x", "weight_hh": "W_h", "bias": "b_"}
    if name.startswith("layers."):
        return " ".join(symbols[kind] + gate for gate in GATES[cell])
    return {"embedding.weight": "E", "output.weight": "W_hq", "output.bias": "b_q"}[name]


def write_model(path: Path, model: ModelFile) -> None:
    """Write the model to `path` in one step. Raises StorageError."""
    files.write_file(path, model_bytes(model))


def model_bytes(model: ModelFile) -> bytes:
    """The bytes of the model's file."""
    from safetensors.numpy import save

    body = save({name: np.ascontiguousarray(tensor) for name, tensor in model.tensors.items()})
    start = _data_start(body)
    strings = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "config": model.config.model_dump_json(),
        "tokenizer": dump_tokenizer(model.tokenizer),
        "start_token": str(model.start_token),
        "records": json.dumps(model.records),
        "fingerprint": model.fingerprint,
        "metrics": files.to_json(dict(model.metrics)),
        "training": files.to_json(dict(model.training)),
        "sha256": files.sha256(memoryview(body)[start:]),
    }
    # The library would write these strings in a random order; the same model gives the same file.
    header = {"__metadata__": strings, **json.loads(body[LENGTH_PREFIX:start])}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_PREFIX)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(LENGTH_PREFIX, "little") + text + body[start:]


def read_model(path: Path) -> ModelFile:
    """The model in a file, every claim of its header checked.

    Raises DataError for a file that is damaged or no model, StorageError if it cannot be read.
    """
    data = files.read_bytes(path)
    header = _header(data, path)
    config = _config(header, path)
    tokenizer = _tokenizer(header, config, path)
    _check_layout(data, config, path)
    digest = files.sha256(memoryview(data)[_data_start(data) :])
    if header.get("sha256") != digest:
        raise _damaged(path, "the weights do not match their SHA-256")
    return ModelFile(
        config=config,
        tokenizer=tokenizer,
        start_token=_start_token(header, config, path),
        tensors=_tensors(data, path),
        fingerprint=header.get("fingerprint", ""),
        records=header.get("records") == "true",
        metrics=files.parse_json_object(header.get("metrics", "{}"), f"{path}: metrics"),
        training=files.parse_json_object(header.get("training", "{}"), f"{path}: training"),
        sha256=digest,
    )


def _data_start(data: bytes) -> int:
    return LENGTH_PREFIX + int.from_bytes(data[:LENGTH_PREFIX], "little")


def _header(data: bytes, path: Path) -> dict[str, str]:
    _refuse_pickle(data, path)
    length = int.from_bytes(data[:LENGTH_PREFIX], "little")
    if len(data) < LENGTH_PREFIX or length > min(len(data) - LENGTH_PREFIX, MAX_HEADER):
        raise _damaged(path, "its header is cut short or it is no safetensors file")
    header = files.parse_json_object(data[LENGTH_PREFIX : LENGTH_PREFIX + length], str(path))
    strings = header.get("__metadata__")
    if not isinstance(strings, dict) or strings.get("format") != FORMAT:
        raise DataError(f"{path} was not written by charnn", "give a charnn run or model file")
    if strings.get("format_version") != str(FORMAT_VERSION):
        raise DataError(
            f"{path} has format version {strings.get('format_version')!r}; "
            f"this charnn reads {FORMAT_VERSION}",
            "update charnn",
        )
    if not all(isinstance(value, str) for value in strings.values()):
        raise _damaged(path, "its header holds something that is not a string")
    return strings


def _refuse_pickle(data: bytes, path: Path) -> None:
    if data[:2] == b"PK" or (data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05"):
        raise DataError(
            f"{path} is a pickle or zip archive; charnn never opens those, they can run code",
            "give a model.safetensors written by charnn",
        )


def _config(header: dict[str, str], path: Path) -> ModelConfig:
    values = files.parse_json_object(header.get("config", ""), f"{path}: config")
    try:
        return validate(ModelConfig, values, f"{path}: config")
    except UsageError as error:
        raise DataError(error.message, "the file is damaged") from None


def _tokenizer(header: dict[str, str], config: ModelConfig, path: Path) -> Tokenizer:
    try:
        tokenizer = load_tokenizer(header.get("tokenizer", ""))
    except DataError as error:
        raise _damaged(path, error.message) from None
    if tokenizer.vocab_size != config.vocab_size:
        raise _damaged(
            path,
            f"the tokenizer has {tokenizer.vocab_size} tokens, "
            f"the configuration {config.vocab_size}",
        )
    return tokenizer


def _start_token(header: dict[str, str], config: ModelConfig, path: Path) -> int:
    text = header.get("start_token", "")
    if not (text.isascii() and text.isdigit() and int(text) < config.vocab_size):
        raise _damaged(path, f"start_token {text[:20]!r} is not a token")
    return int(text)


def _check_layout(data: bytes, config: ModelConfig, path: Path) -> None:
    """Names, dtypes, shapes and extent of the tensors, before anything is allocated."""
    found = files.parse_json_object(data[LENGTH_PREFIX : _data_start(data)], str(path))
    del found["__metadata__"]
    # A configuration may claim any depth: count before listing that many names.
    if config.num_layers > len(found):
        raise _damaged(path, f"{config.num_layers} layers are claimed, {len(found)} tensors there")
    shapes = tensor_shapes(config)
    if found.keys() != shapes.keys():
        odd = sorted(found.keys() ^ shapes.keys())[0]
        raise _damaged(path, f"tensor {odd!r} is {'unexpected' if odd in found else 'missing'}")
    for name, shape in shapes.items():
        entry = found[name]
        claimed = entry.get("shape") if isinstance(entry, dict) else None
        if claimed != list(shape) or entry.get("dtype") != "F32":
            raise _damaged(path, f"tensor {name} should be float32 {shape}, not {entry}")


def _tensors(data: bytes, path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(path, str(error)) from None
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise DataError(
                f"{path}: this model has diverged: {name} holds values that are not finite",
                "use an earlier model, or train again with a lower --lr",
            )
    return tensors


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged: {why[:500]}", "copy it again, or train again")
