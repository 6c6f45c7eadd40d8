"""Capture and restore the complete state of a training, in memory.

The shapes and values of a snapshot are checked before it is restored, because it may come from a
damaged or modified file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from charnn.config import FIXED_SETTINGS, MAX_COUNT, Settings, validate
from charnn.data.samplers import Position
from charnn.errors import DataError, DivergedError, UsageError
from charnn.model.layers import LayerState
from charnn.training.counters import Counters
from charnn.training.loop import TrainLoop
from charnn.training.optimizers import STATE_NAMES

FORMAT_VERSION = 2
SHOWN_DIGITS = 8  # digits of a fingerprint in messages


class SnapshotHeader(Settings):
    """All values of a snapshot except the tensors.

    `settings` and `model` must not change when a run is resumed; `epoch` and `batch` are the
    position of the sampler; `steps` and `validation_fraction` are the plan of the time budget;
    `good_step` is the step that a divergence is rolled back to, None if it is this one.
    """

    format_version: int = FORMAT_VERSION
    torch: str
    fingerprint: str
    model: dict[str, Any]
    settings: dict[str, Any]
    counters: Counters
    epoch: int = Field(ge=0, le=MAX_COUNT)
    batch: int = Field(ge=0, le=MAX_COUNT)
    steps: int | None = Field(ge=0, le=MAX_COUNT)
    validation_fraction: float = Field(gt=0, le=1)
    average_updates: int = Field(ge=0, le=MAX_COUNT)
    scaler: dict[str, float | int]
    good_step: int | None = Field(default=None, ge=0, le=MAX_COUNT)


@dataclass(frozen=True)
class Snapshot:
    """The state of a training between two steps; `source` is the path it was read from, or ""."""

    tensors: Mapping[str, Tensor]
    header: SnapshotHeader
    source: str = ""

    @property
    def step(self) -> int:
        """Return the step after which the snapshot was captured."""
        return self.header.counters.step


def parse_header(values: Mapping[str, Any], source: str) -> SnapshotHeader:
    """Return the header from JSON values. Raise DataError, which names `source` and the field."""
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise DataError(
            f"{source} has checkpoint format {version!r}; this version of charnn reads "
            f"{FORMAT_VERSION}",
            "start a new run from its model with --init-from",
        )
    try:
        return validate(SnapshotHeader, values, source)
    except UsageError as error:
        raise DataError(error.message, "an earlier checkpoint may be undamaged") from None


def capture(loop: TrainLoop, fingerprint: str) -> Snapshot:
    """Return a copy of the state of a training."""
    position = loop.sampler.position
    header = SnapshotHeader(
        torch=str(torch.__version__),
        fingerprint=fingerprint,
        model=loop.model.config.model_dump(mode="json"),
        settings=_fixed_settings(loop),
        counters=loop.counters.model_copy(),
        epoch=position.epoch,
        batch=position.batch,
        steps=loop.budget.steps,
        validation_fraction=loop.budget.fraction,
        average_updates=loop.average.updates,
        scaler=loop.scaler.state_dict(),
    )
    return Snapshot(_tensors(loop), header)


def _fixed_settings(loop: TrainLoop) -> dict[str, Any]:
    return loop.config.model_dump(mode="json", include=set(FIXED_SETTINGS))


def _tensors(loop: TrainLoop) -> dict[str, Tensor]:
    tensors = {f"model.{name}": t for name, t in loop.model.named_tensors().items()}
    for number, optimizer in enumerate(loop.optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{index}.{name}"] = value
    for index, part in enumerate(loop.hidden or ()):
        tensors[f"hidden.{index}"] = part
    tensors |= {f"average.{name}": part for name, part in loop.average.tensors.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    device = loop.model.device
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        tensors["random.mps"] = torch.mps.get_rng_state()
    return {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}


def refuse_diverged(snapshot: Snapshot) -> None:
    """Raise DivergedError if a weight is not finite."""
    for name, tensor in _group(snapshot.tensors, "model.").items():
        if not tensor.isfinite().all():
            raise DivergedError(
                f"{name} is not finite at step {snapshot.step}",
                "use a lower --lr or a lower --grad-clip",
            )


def restore(loop: TrainLoop, snapshot: Snapshot, fingerprint: str) -> None:
    """Restore the state of `loop` from a snapshot, including the random number generators.

    Raise UsageError if dataset or settings differ, DataError if the snapshot is inconsistent.
    """
    _check_same(loop, snapshot.header, fingerprint)
    try:
        _restore_tensors(loop, snapshot.tensors)
        _restore_header(loop, snapshot.header)
        _restore_random(_group(snapshot.tensors, "random."), loop.model.device)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        source = snapshot.source or "the state to go back to"
        raise DataError(f"{source} does not match this run: {error}") from None


def _check_same(loop: TrainLoop, header: SnapshotHeader, fingerprint: str) -> None:
    if header.fingerprint != fingerprint:
        raise UsageError(
            "the dataset is not the one that the run was trained on: "
            f"fingerprint {header.fingerprint[:SHOWN_DIGITS]} → {fingerprint[:SHOWN_DIGITS]}",
            "resume with the same dataset; to continue on new text use --init-from",
        )
    own = {**loop.model.config.model_dump(mode="json"), **_fixed_settings(loop)}
    saved = {**header.model, **header.settings}
    differing = [key for key in own if own[key] != saved.get(key)]
    if differing:
        changes = ", ".join(f"{key} {saved.get(key)} → {own[key]}" for key in differing)
        raise UsageError(
            f"these settings cannot change when a run is resumed: {changes}", "leave them out"
        )


def _restore_tensors(loop: TrainLoop, tensors: Mapping[str, Tensor]) -> None:
    weights = loop.model.named_tensors()
    device = loop.model.device
    stored, average = _group(tensors, "model."), _group(tensors, "average.")
    _require_like(stored, weights, "weights")
    if average:
        _require_like(average, weights, "average")
    loop.model.load_tensors(stored)
    # Copies: training on must not change the snapshot, to which a run can go back twice.
    loop.average.tensors = {name: tensor.to(device, copy=True) for name, tensor in average.items()}
    for number, optimizer in enumerate(loop.optimizers):
        _restore_optimizer(optimizer, _group(tensors, f"optimizer.{number}."))
    loop.hidden = _hidden(loop, _group(tensors, "hidden."))


def _require_like(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Raise ValueError unless names, shapes and types agree and all values are finite."""
    if given.keys() != expected.keys():
        raise ValueError(f"{what}: the names of the tensors differ")
    for name, tensor in given.items():
        if tensor.shape != expected[name].shape or tensor.dtype != torch.float32:
            raise ValueError(f"{what}: {name} has the wrong shape or type")
        if not tensor.isfinite().all():
            raise ValueError(f"{what}: {name} is not finite")


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state of each weight; keep the settings of the optimizer."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        shape = torch.Size() if key == "step" else weights[int(index)].shape
        if tensor.shape != shape or tensor.dtype != torch.float32:
            raise ValueError(f"optimizer: {name} has the wrong shape or type")
        state.setdefault(int(index), {})[key] = tensor.clone()  # load_state_dict does not copy
    names = STATE_NAMES[type(optimizer)]
    if any(of_weight.keys() != names for of_weight in state.values()):
        raise ValueError("optimizer: a tensor is missing")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _hidden(loop: TrainLoop, stored: Mapping[str, Tensor]) -> LayerState | None:
    if not stored:
        return None
    hidden = tuple(stored[str(index)] for index in range(len(stored)))
    expected = loop.model.initial_state(len(hidden[0]) if hidden[0].ndim else 0)
    if _shapes(hidden) != _shapes(expected):
        raise ValueError("the hidden state has the wrong shape")
    if loop.config.sampler == "sequential" and len(hidden[0]) != loop.config.batch_size:
        raise ValueError("the hidden state has the wrong number of streams")
    # The precision of the run may have changed since it was saved.
    return tuple(part.to(loop.model.device, torch.float32) for part in hidden)


def _shapes(parts: Iterable[Tensor]) -> list[torch.Size]:
    return [part.shape for part in parts]


def _restore_header(loop: TrainLoop, header: SnapshotHeader) -> None:
    if header.batch >= loop.sampler.batches_in(header.epoch):
        raise ValueError(f"batch {header.batch} is after the end of the epoch")
    loop.sampler.position = Position(header.epoch, header.batch)
    loop.counters = header.counters.model_copy()
    loop.average.updates = header.average_updates
    loop.budget.fraction = header.validation_fraction
    if loop.config.minutes is not None:
        loop.budget.steps = header.steps
    if header.scaler:  # empty if the run was not in float16
        loop.scaler.load_state_dict(dict(header.scaler))


def _restore_random(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the generators of the CPU and, if the snapshot has its state, of the device."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def _group(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
