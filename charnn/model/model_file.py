"""Read and write model.safetensors: weights, network configuration, tokenizer and provenance.

The format is safetensors with strings in its header, specified in docs/format.md. Reading executes
nothing from the file, and checks the header before using it: sizes against the file, shapes and
vocabulary size against the configuration, the tensors against their SHA-256.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charnn.arrays import Floats
from charnn.config import ModelConfig, validate
from charnn.display import humanize
from charnn.errors import DataError, UsageError
from charnn.model.spec import tensor_shapes
from charnn.storage import atomic, jsonio, safetensors_file
from charnn.storage.safetensors_file import Packed, damaged
from charnn.tokenizers.tokenizer import Tokenizer
from charnn.tokenizers.tokenizer_json import dump_tokenizer, load_tokenizer
from charnn.tokenizers.unknown_model import UnknownModel

FORMAT = "charnn-model"
FORMAT_VERSION = 1
LARGEST = 1e15  # largest magnitude of a weight; products of larger ones overflow float32


@dataclass(frozen=True)
class ModelFile:
    """A model as plain values. `tensors` are float32, named as in `spec.tensor_shapes`.

    `start_token` is the id that precedes the first token of a text; `metrics` are the final scores;
    `fingerprint` identifies the dataset of the training; `training` has the resolved settings;
    `records` is set if each line of the corpus is a separate text; `unknown_model` predicts
    out-of-vocabulary symbols, None if the tokenizer has none or the file is older; `format_version`
    is that of the file that was read.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    start_token: int
    tensors: Mapping[str, Floats]
    fingerprint: str = ""
    records: bool = False
    unknown_model: UnknownModel | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    format_version: int = FORMAT_VERSION

    @property
    def parameters(self) -> int:
        """Return the number of weights; tied weights count once."""
        return sum(tensor.size for tensor in self.tensors.values())

    def summary(self) -> list[str]:
        """Return what the model is in a few words each: network, dataset, validation."""
        config, tokenizer = self.config, self.tokenizer
        parts = [
            f"{config.cell.upper()} {config.num_layers}×{config.hidden_size}",
            f"{humanize.compact(self.parameters)} weights",
            f"{tokenizer.vocab_size:,} {tokenizer.kind} tokens",
        ]
        if self.training.get("data"):
            parts.append(f"trained on {self.training['data']}")
        val = self.metrics.get("val") or {}
        bits_per_char = val.get("bits_per_char")
        if isinstance(bits_per_char, float):
            figure = f"{humanize.figure(bits_per_char)} bits/char"
            parts.append(humanize.covering(figure, val.get("coverage")))
        return parts

    def stops(self, given: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the stop strings: those given, and a newline for a model of records."""
        return (*given, "\n") if self.records else tuple(given)


def write_model(path: Path, model: ModelFile) -> None:
    """Write the model to `path` atomically. Raise StorageError if it cannot be written."""
    atomic.write_file(path, model_bytes(model))


def model_bytes(model: ModelFile) -> bytes:
    """Return the bytes of the model file."""
    strings = {
        safetensors_file.FORMAT: FORMAT,
        safetensors_file.FORMAT_VERSION: str(FORMAT_VERSION),
        "config": model.config.model_dump_json(),
        "tokenizer": dump_tokenizer(model.tokenizer),
        "start_token": str(model.start_token),
        "records": json.dumps(model.records),
        "fingerprint": model.fingerprint,
        "metrics": jsonio.to_json(dict(model.metrics)),
        "training": jsonio.to_json(dict(model.training)),
    }
    if model.unknown_model is not None:
        strings["unknown"] = jsonio.to_json(model.unknown_model.to_json())
    return safetensors_file.pack(model.tensors, strings)


def read_model(path: Path) -> ModelFile:
    """Read a model file and check it.

    Raise DataError if the file is damaged or not a model, StorageError if it is unreadable.
    """
    packed = safetensors_file.unpack(path, FORMAT, FORMAT_VERSION, "charnn train")
    header = packed.strings
    config = _config(header, path)
    tokenizer = _tokenizer(header, config, path)
    _check_layout(packed, config)
    return ModelFile(
        config=config,
        tokenizer=tokenizer,
        start_token=_start_token(packed, config),
        tensors=_tensors(packed),
        fingerprint=header.get("fingerprint", ""),
        records=header.get("records") == "true" and tokenizer.newline_id is not None,
        unknown_model=_unknown_model(header, tokenizer, path),
        metrics=jsonio.parse_json_object(header.get("metrics", "{}"), f"{path}: metrics"),
        training=jsonio.parse_json_object(header.get("training", "{}"), f"{path}: training"),
        sha256=packed.digest,
        format_version=packed.integer(safetensors_file.FORMAT_VERSION),
    )


def read_summary(path: Path) -> tuple[ModelConfig, dict[str, Any], dict[str, Any]]:
    """Read the network configuration, metrics and settings from the header of a model file.

    The tensors are not read or checked. Raise DataError if the header is damaged, StorageError if
    the file is unreadable.
    """
    header = safetensors_file.read_strings(path)
    metrics = jsonio.parse_json_object(header.get("metrics", "{}"), f"{path}: metrics")
    training = jsonio.parse_json_object(header.get("training", "{}"), f"{path}: training")
    return _config(header, path), metrics, training


def read_tokenizer(path: Path) -> Tokenizer:
    """Read the tokenizer of a model file or a tokenizer.json. Raise DataError or StorageError."""
    if path.suffix == ".safetensors":
        return read_model(path).tokenizer
    try:
        return load_tokenizer(atomic.read_bytes(path).decode("utf-8", "replace"))
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from None


def _config(header: dict[str, str], path: Path) -> ModelConfig:
    values = jsonio.parse_json_object(header.get("config", ""), f"{path}: config")
    try:
        return validate(ModelConfig, values, f"{path}: config")
    except UsageError as error:
        raise DataError(error.message, "the file is damaged") from None


def _tokenizer(header: dict[str, str], config: ModelConfig, path: Path) -> Tokenizer:
    try:
        tokenizer = load_tokenizer(header.get("tokenizer", ""))
    except DataError as error:
        raise damaged(path, error.message) from None
    if tokenizer.vocab_size != config.vocab_size:
        raise damaged(
            path,
            f"the tokenizer has {tokenizer.vocab_size} tokens, "
            f"but vocab_size is {config.vocab_size}",
        )
    return tokenizer


def _unknown_model(header: dict[str, str], tokenizer: Tokenizer, path: Path) -> UnknownModel | None:
    if "unknown" not in header or tokenizer.unk_id is None:
        return None
    try:
        value = jsonio.parse_json_object(header["unknown"], "unknown")
        return UnknownModel.from_json(value, tokenizer)
    except DataError as error:
        raise damaged(path, error.message) from None


def _start_token(packed: Packed, config: ModelConfig) -> int:
    token = packed.integer("start_token")
    if token >= config.vocab_size:
        raise damaged(packed.path, f"start_token {token} is not a token id")
    return token


def _check_layout(packed: Packed, config: ModelConfig) -> None:
    """Check names, dtypes and shapes of the tensors before any memory is allocated."""
    count = len(packed.entries)
    # num_layers can be any number in a damaged file: compare it before listing the names.
    if config.num_layers > count:
        raise damaged(packed.path, f"it has {config.num_layers} layers but only {count} tensors")
    packed.check(tensor_shapes(config), {})


def _tensors(packed: Packed) -> dict[str, Floats]:
    tensors = packed.tensors()
    for name, tensor in tensors.items():
        # Both comparisons are false for NaN.
        if not (tensor.min(initial=0) >= -LARGEST and tensor.max(initial=0) <= LARGEST):
            raise DataError(
                f"{packed.path}: the model has diverged: {name} has values that are infinite, NaN "
                f"or larger than {LARGEST:.0e}",
                "use an earlier model, or train again with a lower --lr",
            )
    return tensors
