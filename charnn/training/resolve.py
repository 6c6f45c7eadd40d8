"""Resolve the settings of a run: what was asked, over the preset, for a dataset and a machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from charnn.config import TrainConfig, validate
from charnn.data.dataset import Dataset
from charnn.data.samplers import fitting_batch_size
from charnn.model import device
from charnn.model.device import Machine
from charnn.training.presets import REFERENCE, Facts, apply_preset


@dataclass(frozen=True)
class Resolved:
    """The settings of a run, and one line about each choice that was made."""

    config: TrainConfig
    notes: tuple[str, ...]


def resolve(given: Mapping[str, Any], dataset: Dataset) -> Resolved:
    """Return the settings of a new run; set up torch for it.

    With minutes, the machine is measured before the preset is chosen. Raise UsageError where the
    settings make no sense, DataError where the text is too short for them.
    """
    asked = validate(TrainConfig, given)
    _set_up(asked)
    facts = Facts(len(dataset.split("train")), dataset.tokenizer.vocab_size)
    if asked.minutes is None:
        config, note = apply_preset(given, facts)
        resolved = resolve_machine(config, facts.tokens)
    else:
        shape = REFERENCE["hidden_size"], asked.batch_size
        where = device.choose_device(asked.device)
        machine = device.measure_machine(where, asked.precision, *shape, speed=True)
        assert machine.tokens_per_minute
        facts = Facts(facts.tokens, facts.vocab_size, machine.tokens_per_minute)
        config, note = apply_preset(given, facts)
        resolved = _on_machine(config, facts.tokens, machine)
    return Resolved(resolved.config, (note, *resolved.notes))


def resolve_machine(config: TrainConfig, tokens: int) -> Resolved:
    """Return the settings with device, precision, threads and batch size of this machine.

    `tokens` is the length of the training split. Set up torch for the run.
    """
    _set_up(config)
    machine = device.measure_machine(
        device.choose_device(config.device),
        config.precision,
        config.hidden_size,
        config.batch_size,
        timed=not config.deterministic,
    )
    return _on_machine(config, tokens, machine)


def _set_up(config: TrainConfig) -> None:
    device.configure(config.threads, deterministic=config.deterministic)


def _on_machine(config: TrainConfig, tokens: int, machine: Machine) -> Resolved:
    batch_size = fitting_batch_size(tokens, config.batch_size, config.bptt)
    notes = []
    if batch_size < config.batch_size:
        notes.append(
            f"batch size {config.batch_size} → {batch_size}: {tokens:,} training tokens hold "
            f"{batch_size} rows of bptt {config.bptt}"
        )
    chosen = {
        "batch_size": batch_size,
        "precision": machine.arithmetic.precision,
        "device": str(machine.arithmetic.device),
        "threads": torch.get_num_threads(),
    }
    return Resolved(config.model_copy(update=chosen), tuple(notes))
