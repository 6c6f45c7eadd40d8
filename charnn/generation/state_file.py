"""Save and load the generation state of a text, so that another command can continue it.

The format is safetensors, documented in docs/format.md. Every value is validated on reading.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from charnn.arrays import Floats
from charnn.errors import DataError
from charnn.generation.generate import Context
from charnn.generation.logit_filters import RECENT
from charnn.model.backend import ModelBackend, State
from charnn.storage import safetensors_file
from charnn.storage.atomic import write_file
from charnn.storage.safetensors_file import Packed, damaged

FORMAT = "charnn-state"
FORMAT_VERSION = 1
RECENT_IDS = "recent"


def write_state(path: Path, context: Context, model_sha256: str) -> None:
    """Write a generation state to `path` atomically. Raise StorageError if that fails."""
    tensors = dict(_named(context.state)) | {RECENT_IDS: context.recent}
    strings = {
        safetensors_file.FORMAT: FORMAT,
        safetensors_file.FORMAT_VERSION: str(FORMAT_VERSION),
        "model_sha256": model_sha256,
        "seed": str(context.seed),
        "drawn": str(context.drawn),
    }
    write_file(path, safetensors_file.pack(tensors, strings))


def read_state(path: Path, model: ModelBackend, model_sha256: str) -> Context:
    """Return the generation state in a file.

    Raise DataError if the file is damaged, is not a state, or belongs to another model,
    StorageError if it cannot be read.
    """
    packed = safetensors_file.unpack(path, FORMAT, FORMAT_VERSION, "charnn sample --save-state")
    if packed.strings.get("model_sha256") != model_sha256:
        raise DataError(
            f"{path} is the state of another model",
            "use the model that it was saved with, or omit --state",
        )
    shapes = {name: part.shape for name, part in _named(model.initial_state())}
    packed.check(shapes | {RECENT_IDS: (_recent_count(packed),)}, {RECENT_IDS: "I64"})
    tensors = packed.tensors()
    state, recent = tuple(tensors[name] for name in shapes), tensors[RECENT_IDS]
    if not all(np.isfinite(part).all() for part in state):
        raise damaged(path, "a hidden state is not finite")
    if len(recent) and not (recent.min() >= 0 and recent.max() < model.config.vocab_size):
        raise damaged(path, "a recent id is not in the vocabulary")
    return Context(state, recent, packed.integer("seed"), packed.integer("drawn"))


def _named(state: State) -> Iterator[tuple[str, Floats]]:
    """Yield the parts of a hidden state with their names in the file."""
    return ((f"state.{index}", part) for index, part in enumerate(state))


def _recent_count(packed: Packed) -> int:
    """Return the number of recent ids in the header. Raise DataError if it is not valid."""
    entry = packed.entries.get(RECENT_IDS)
    shape = entry.get("shape") if isinstance(entry, dict) else None
    count = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
    if not isinstance(count, int) or not 0 <= count <= RECENT:
        raise damaged(packed.path, f"{RECENT_IDS} should be at most {RECENT} ids")
    return count
