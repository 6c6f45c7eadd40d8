"""Capture and restore the complete state of a training, in memory.

Nothing in a state that was read from disk is believed before it fits the training it is for.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from charnn.config import MAX_COUNT, Settings, validate
from charnn.data.samplers import Position
from charnn.errors import DataError, DivergedError, UsageError
from charnn.model.layers import State
from charnn.training.loop import TrainLoop
from charnn.training.optimizers import STATE_NAMES

SHOWN_DIGITS = 8  # of a fingerprint
KEPT = ("batch_size", "bptt", "sampler", "random_bptt", "seed", "optimizer")  # for a whole run


class Counters(Settings):
    """The numbers of a state, each within its range; `settings` and `model` must not change."""

    format_version: Literal[1] = 1
    torch: str
    fingerprint: str
    model: dict[str, Any]
    settings: dict[str, Any]
    step: int = Field(ge=0, le=MAX_COUNT)
    steps: int | None = Field(ge=0, le=MAX_COUNT)
    tokens: int = Field(ge=0)
    seconds: float = Field(ge=0)
    epoch: int = Field(ge=0, le=MAX_COUNT)
    batch: int = Field(ge=0, le=MAX_COUNT)
    loss_sum: float
    loss_count: int = Field(ge=0, le=MAX_COUNT)
    best_loss: float | None
    best_step: int = Field(ge=0, le=MAX_COUNT)
    evaluated_at: int = Field(ge=0, le=MAX_COUNT)
    evaluations_since_best: int = Field(ge=0, le=MAX_COUNT)
    lr_scale: float = Field(gt=0, le=1)
    average_updates: int = Field(ge=0, le=MAX_COUNT)
    validation_share: float | None = Field(None, gt=0, le=1)
    scaler: dict[str, float | int]


@dataclass(frozen=True)
class Snapshot:
    """A training at rest; `source` says where it was read, if it was."""

    tensors: Mapping[str, Tensor]
    counters: Counters
    source: str = ""


def read_counters(values: Mapping[str, Any], source: str) -> Counters:
    """The counters among JSON values. Raises DataError naming `source` and the field."""
    try:
        return validate(Counters, values, source)
    except UsageError as error:
        raise DataError(error.message, "an earlier checkpoint may be whole") from None


def capture(training: TrainLoop, fingerprint: str) -> Snapshot:
    """The state of `training` as it is now; later steps do not change it."""
    position = training.sampler.position
    counters = Counters(
        torch=str(torch.__version__),
        fingerprint=fingerprint,
        model=training.model.config.model_dump(mode="json"),
        settings=_kept_settings(training),
        step=training.step,
        steps=training.steps,
        tokens=training.tokens,
        seconds=training.seconds,
        epoch=position.epoch,
        batch=position.batch,
        loss_sum=training.loss_sum,
        loss_count=training.loss_count,
        best_loss=training.best_loss if math.isfinite(training.best_loss) else None,
        best_step=training.best_step,
        evaluated_at=training.evaluated_at,
        evaluations_since_best=training.evaluations_since_best,
        lr_scale=training.lr_scale,
        average_updates=training.average.updates,
        validation_share=training.validation_share,
        scaler=training.scaler.state_dict(),
    )
    return Snapshot(_tensors(training), counters)


def _kept_settings(training: TrainLoop) -> dict[str, Any]:
    return training.config.model_dump(mode="json", include=set(KEPT))


def _tensors(training: TrainLoop) -> dict[str, Tensor]:
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
    device = training.model.device
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        tensors["random.mps"] = torch.mps.get_rng_state()
    return {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}


def refuse_diverged(state: Snapshot) -> None:
    """Raise DivergedError where a weight is not finite: such a state is worth nothing."""
    for name, tensor in _group(state.tensors, "model.").items():
        if not tensor.isfinite().all():
            raise DivergedError(
                f"{name} is not finite at step {state.counters.step}",
                "try a lower --lr or a lower --grad-clip",
            )


def restore(training: TrainLoop, state: Snapshot, fingerprint: str) -> None:
    """Put `training` where the state was taken, random numbers included, as the last act.

    Raises UsageError where dataset or shape differ, DataError where the state does not fit.
    """
    _check_same(training, state.counters, fingerprint)
    try:
        _restore_tensors(training, state.tensors)
        _restore_counters(training, state.counters)
        _restore_random(_group(state.tensors, "random."), training.model.device)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{state.source} does not fit this run: {error}") from None


def _check_same(training: TrainLoop, counters: Counters, fingerprint: str) -> None:
    if counters.fingerprint != fingerprint:
        raise UsageError(
            "the run was trained on another dataset, or the dataset was prepared anew: "
            f"fingerprint {counters.fingerprint[:SHOWN_DIGITS]} → {fingerprint[:SHOWN_DIGITS]}",
            "resume with the same dataset; to go on with new text use --init-from",
        )
    own = {**training.model.config.model_dump(mode="json"), **_kept_settings(training)}
    theirs = {**counters.model, **counters.settings}
    differing = [key for key in own if own[key] != theirs.get(key)]
    if differing:
        changes = ", ".join(f"{key} {theirs.get(key)} → {own[key]}" for key in differing)
        raise UsageError(f"a resumed run keeps its shape, but: {changes}", "leave these out")


def _restore_tensors(training: TrainLoop, tensors: Mapping[str, Tensor]) -> None:
    weights = training.model.named_tensors()
    device = training.model.device
    stored, average = _group(tensors, "model."), _group(tensors, "average.")
    _require_like(stored, weights, "weights")
    if average:
        _require_like(average, weights, "average")
    training.model.load_tensors(stored)
    training.average.tensors = {name: tensor.to(device) for name, tensor in average.items()}
    for number, optimizer in enumerate(training.optimizers):
        _restore_optimizer(optimizer, _group(tensors, f"optimizer.{number}."))
    training.hidden = _hidden(training, _group(tensors, "hidden."))


def _require_like(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Raise ValueError unless names and shapes agree and all is finite."""
    if given.keys() != expected.keys():
        raise ValueError(f"the {what} have other names")
    for name, tensor in given.items():
        if tensor.shape != expected[name].shape or tensor.dtype != torch.float32:
            raise ValueError(f"{what}: {name} has another shape or type")
        if not tensor.isfinite().all():
            raise ValueError(f"{what}: {name} is not finite")


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """What it remembers of each weight; its settings are those of the run."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    remembered: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        shape = torch.Size() if key == "step" else weights[int(index)].shape
        if tensor.shape != shape or tensor.dtype != torch.float32:
            raise ValueError(f"optimizer: {name} has another shape or type")
        remembered.setdefault(int(index), {})[key] = tensor
    names = STATE_NAMES[type(optimizer)]
    if any(of_weight.keys() != names for of_weight in remembered.values()):
        raise ValueError("optimizer: something is missing")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": remembered, "param_groups": groups})


def _hidden(training: TrainLoop, stored: Mapping[str, Tensor]) -> State | None:
    if not stored:
        return None
    hidden = tuple(stored[str(index)] for index in range(len(stored)))
    expected = training.model.initial_state(len(hidden[0]) if hidden[0].ndim else 0)
    if _shapes(hidden) != _shapes(expected):
        raise ValueError("the hidden state has another shape")
    if training.config.sampler == "sequential" and len(hidden[0]) != training.config.batch_size:
        raise ValueError("the hidden state has another number of streams")
    # It was in the precision of the run, which may be another one now.
    return tuple(part.to(training.model.device, torch.float32) for part in hidden)


def _shapes(parts: Iterable[Tensor]) -> list[torch.Size]:
    return [part.shape for part in parts]


def _restore_counters(training: TrainLoop, counters: Counters) -> None:
    if counters.batch >= training.sampler.batches_in(counters.epoch):
        raise ValueError(f"batch {counters.batch} is beyond the epoch")
    training.sampler.position = Position(counters.epoch, counters.batch)
    training.step = counters.step
    training.tokens = counters.tokens
    training.seconds = counters.seconds
    training.loss_sum = counters.loss_sum
    training.loss_count = counters.loss_count
    training.best_loss = math.inf if counters.best_loss is None else counters.best_loss
    training.best_step = counters.best_step
    training.evaluated_at = counters.evaluated_at
    training.evaluations_since_best = counters.evaluations_since_best
    training.lr_scale = counters.lr_scale
    training.average.updates = counters.average_updates
    if training.config.minutes is not None:
        training.steps = counters.steps
    training.validation_share = counters.validation_share or training.validation_share
    training.skipped = 0
    if counters.scaler:  # what was not half precision then has none
        training.scaler.load_state_dict(dict(counters.scaler))


def _restore_random(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Random numbers go on where they were, on a kind of device that the run was on before."""
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
