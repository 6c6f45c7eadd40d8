"""Types of the keyword arguments of the Python API, and errors that name arguments.

A test compares the types with the fields in `config.py`.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import TypedDict

from charnn.config import (
    CellName,
    ErrorsName,
    NewlinesName,
    OptimizerName,
    PrecisionName,
    PrepareConfig,
    PresetName,
    SampleConfig,
    SamplerName,
    TokenizerName,
    TrainConfig,
)
from charnn.errors import CharnnError

# Arguments that are not settings, but options of the commands with the same name.
OTHER_ARGUMENTS = frozenset(
    {"name", "val", "test", "tokenizer_from", "force", "resume", "init_from", "stop", "match"}
)
FLAG = re.compile(r"--([a-z][a-z-]*)")


class PrepareSettings(TypedDict, total=False):
    """The settings of `charnn.prepare`."""

    tokenizer: TokenizerName
    vocab_size: int | None
    min_count: int
    word_pattern: str | None
    val_frac: float
    test_frac: float
    lines: bool
    unique: bool
    newlines: NewlinesName
    encoding: str
    errors: ErrorsName
    seed: int


class TrainSettings(TypedDict, total=False):
    """The settings of `charnn.train`, without the dataset."""

    cell: CellName
    hidden_size: int
    num_layers: int
    embedding_dim: int
    tie_weights: bool
    preset: PresetName
    dropout: float
    input_dropout: float
    embedding_dropout: float
    weight_dropout: float
    activation_reg: float
    temporal_reg: float
    sampled_softmax: int
    sampler: SamplerName
    batch_size: int
    bptt: int
    random_bptt: bool
    epochs: float | None
    steps: int | None
    minutes: float | None
    optimizer: OptimizerName
    lr: float
    matrix_lr: float
    warmup_steps: int
    final_lr_frac: float
    weight_decay: float
    matrix_decay: float
    average: bool
    patience: int | None
    grad_clip: float
    device: str
    precision: PrecisionName
    seed: int
    eval_every: int | None
    save_every: int | None
    sample_every: int | None
    deterministic: bool
    threads: int | None


@contextlib.contextmanager
def argument_names() -> Iterator[None]:
    """Name arguments instead of flags in the errors of the block: `--top-k` becomes `top_k`.

    Text that quotes a command keeps its flags.
    """
    try:
        yield
    except CharnnError as error:
        error.message, error.hint = _with_arguments(error.message), _with_arguments(error.hint)
        error.args = (error.message,)
        raise


def _with_arguments(text: str) -> str:
    return text if "charnn " in text else FLAG.sub(_argument, text)


def _argument(match: re.Match[str]) -> str:
    name = match[1].replace("-", "_")
    fields = (kind.model_fields for kind in (TrainConfig, PrepareConfig, SampleConfig))
    is_known = name in OTHER_ARGUMENTS or any(name in known for known in fields)
    return name if is_known else match[0]
