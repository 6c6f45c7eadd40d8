"""The training state on disk: everything that an exact resume needs, in a folder that cannot tear.

A checkpoint is a folder that appears by one rename. Its manifest, written last, holds the size and
SHA-256 of the other files. Tensors are safetensors, the rest is JSON; nothing is pickled.
Never knows: the loop, the terminal.
"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from charnn import files
from charnn.errors import DataError, UsageError
from charnn.samplers import Position
from charnn.training import Training

CHECKPOINTS = "checkpoints"
TENSORS_FILE = "state.safetensors"
STATE_FILE = "state.json"
MANIFEST_FILE = "manifest.json"
FORMAT_VERSION = 1
KEEP = 2  # complete checkpoints that are kept


@dataclass(frozen=True)
class Checkpoint:
    """A training state as read from disk, verified but not yet believed to fit any training."""

    folder: Path
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def capture(training: Training, fingerprint: str) -> Checkpoint:
    """The state of `training` as it is now, in memory; later steps do not change it."""
    return Checkpoint(Path(), _tensors(training), _state(training, fingerprint))


def save_checkpoint(training: Training, run: Path, fingerprint: str) -> Path:
    """Write the state of `training` under `run`; older checkpoints but one are removed after.

    Raises StorageError, leaving the older checkpoints as they were.
    """
    from safetensors.torch import save

    captured = capture(training, fingerprint)
    contents = {
        TENSORS_FILE: save(dict(captured.tensors)),
        STATE_FILE: files.to_json(dict(captured.state), indent=2).encode(),
    }
    manifest = {
        name: {"bytes": len(data), "sha256": files.sha256(data)} for name, data in contents.items()
    }
    contents[MANIFEST_FILE] = files.to_json(manifest, indent=2).encode()
    folder = run / CHECKPOINTS / f"step-{training.step:08d}"
    with files.new_folder(folder, replace=True) as new:
        for name, data in contents.items():
            (new / name).write_bytes(data)
    for old in checkpoint_folders(run)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def checkpoint_folders(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((run / CHECKPOINTS).glob("step-*"))


def load_newest(run: Path) -> tuple[Checkpoint, list[DataError]]:
    """The newest checkpoint that is whole, and what was wrong with newer ones.

    Raises DataError where there is none.
    """
    faults: list[DataError] = []
    for folder in reversed(checkpoint_folders(run)):
        try:
            return _load(folder), faults
        except DataError as error:
            faults.append(error)
    if faults:
        raise faults[0]
    raise DataError(f"{run} holds no checkpoint", "start a new run, or use --init-from")


def _load(folder: Path) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        contents = {
            name: (folder / name).read_bytes() for name in (MANIFEST_FILE, STATE_FILE, TENSORS_FILE)
        }
    except OSError as error:
        raise DataError(f"{folder} is damaged: {error.strerror}: {error.filename}") from None
    manifest = files.parse_json_object(contents[MANIFEST_FILE], str(folder / MANIFEST_FILE))
    for name in (STATE_FILE, TENSORS_FILE):
        if manifest.get(name) != {
            "bytes": len(contents[name]),
            "sha256": files.sha256(contents[name]),
        }:
            raise DataError(f"{folder / name} is damaged: it does not match its manifest")
    state = files.parse_json_object(contents[STATE_FILE], str(folder / STATE_FILE))
    if state.get("format_version") != FORMAT_VERSION:
        raise DataError(f"{folder} has format version {state.get('format_version')!r}")
    try:
        return Checkpoint(folder, load(contents[TENSORS_FILE]), state)
    except SafetensorError as error:
        raise DataError(f"{folder / TENSORS_FILE} is damaged: {error}") from None


def restore(training: Training, checkpoint: Checkpoint, fingerprint: str) -> None:
    """Put `training` where the checkpoint was taken, random numbers included, as the last act.

    Raises UsageError where dataset or shape differ, DataError where the state does not fit.
    """
    state, tensors = checkpoint.state, checkpoint.tensors
    _check_fits(training, state, fingerprint)
    try:
        training.model.load_tensors(_group(tensors, "model."))
        for number, optimizer in enumerate(training.optimizers):
            own = _group(tensors, f"optimizer.{number}.")
            _restore_optimizer(optimizer, own, state["optimizers"][number])
        hidden = _group(tensors, "hidden.")
        training.hidden = (
            tuple(hidden[str(i)].to(training.model.device) for i in range(len(hidden))) or None
        )
        training.sampler.position = Position(**state["position"])
        training.step = state["step"]
        training.tokens = state["tokens"]
        training.seconds = state["seconds"]
        training.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        training.best_step = state["best_step"]
        training.evaluations_since_best = state["evaluations_since_best"]
        training.lr_scale = state["lr_scale"]
        training.average.updates = state["average_updates"]
        training.average.tensors = {
            name: tensor.to(training.model.device)
            for name, tensor in _group(tensors, "average.").items()
        }
        if training.config.minutes is not None:
            training.steps = state["steps"]
        training.scaler.load_state_dict(state["scaler"])
        _restore_random(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise DataError(f"{checkpoint.folder} does not fit this run: {error}") from None


def _tensors(training: Training) -> dict[str, Tensor]:
    tensors = {f"model.{name}": t for name, t in training.model.named_tensors().items()}
    for number, optimizer in enumerate(training.optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{index}.{name}"] = value
    for index, part in enumerate(training.hidden or ()):
        tensors[f"hidden.{index}"] = part
    tensors |= {f"average.{name}": part for name, part in training.average.tensors.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        for index, part in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"random.cuda.{index}"] = part
    return {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}


def _state(training: Training, fingerprint: str) -> dict[str, Any]:
    position = training.sampler.position
    return {
        "format_version": FORMAT_VERSION,
        "torch": str(torch.__version__),
        "fingerprint": fingerprint,
        "model": training.model.config.model_dump(mode="json"),
        "batch": {"batch_size": training.config.batch_size, "bptt": training.config.bptt},
        "step": training.step,
        "steps": training.steps,
        "tokens": training.tokens,
        "seconds": training.seconds,
        "best_loss": training.best_loss,
        "best_step": training.best_step,
        "evaluations_since_best": training.evaluations_since_best,
        "lr_scale": training.lr_scale,
        "average_updates": training.average.updates,
        "position": {"epoch": position.epoch, "batch": position.batch},
        "scaler": training.scaler.state_dict(),
        "optimizers": [
            [_plain_group(group) for group in optimizer.state_dict()["param_groups"]]
            for optimizer in training.optimizers
        ],
    }


def _plain_group(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in group.items()}


def _check_fits(training: Training, state: Mapping[str, Any], fingerprint: str) -> None:
    if state.get("fingerprint") != fingerprint:
        raise UsageError(
            "the run was trained on another dataset, or the dataset was prepared anew",
            "resume with the same dataset; to go on with new text use --init-from",
        )
    own = {
        **training.model.config.model_dump(mode="json"),
        "batch_size": training.config.batch_size,
        "bptt": training.config.bptt,
    }
    theirs = {**_mapping(state.get("model")), **_mapping(state.get("batch"))}
    differing = [key for key in own if own[key] != theirs.get(key)]
    if differing:
        changes = ", ".join(f"{key} {theirs.get(key)} → {own[key]}" for key in differing)
        raise UsageError(f"a resumed run keeps its shape, but: {changes}", "leave these out")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _group(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _restore_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], described: list[dict[str, Any]]
) -> None:
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        states.setdefault(int(index), {})[key] = tensor
    groups = [
        {key: tuple(v) if key == "betas" else v for key, v in group.items()} for group in described
    ]
    optimizer.load_state_dict({"state": states, "param_groups": groups})


def _restore_random(tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors["random.cpu"])
    cuda = _group(tensors, "random.cuda.")
    if cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([cuda[str(i)] for i in range(len(cuda))])
