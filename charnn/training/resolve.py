"""Resolve the settings of a run from given settings, preset, dataset and machine."""

import dataclasses
from dataclasses import dataclass

import torch

from charnn.config import TrainConfig
from charnn.data.dataset import Dataset
from charnn.data.samplers import fitting_batch_size
from charnn.model import device
from charnn.model.device import Machine
from charnn.training.presets import REFERENCE, TOKENS_PER_MINUTE, Facts, apply_preset


@dataclass(frozen=True)
class Resolved:
    """The settings of a run, a note for each choice, and the approximate tokens it trains on."""

    config: TrainConfig
    notes: tuple[str, ...]
    planned_tokens: float


def resolve(asked: TrainConfig, dataset: Dataset, init_from: str = "") -> Resolved:
    """Return the settings of a new run, and set the threads and determinism of torch.

    Given fields of `asked` take precedence over the preset; `init_from` is the name of the model
    that the run starts from, if any. For a budget in minutes the speed of the machine is measured
    before the preset is chosen. Raise UsageError if the settings are inconsistent, DataError if the
    text is too short for them.
    """
    device.configure(asked.threads, deterministic=asked.deterministic)
    tokens, vocab_size = len(dataset.split("train")), dataset.tokenizer.vocab_size
    if asked.minutes is None:
        config, note = apply_preset(asked, Facts(tokens, vocab_size, init_from=init_from))
        resolved = _on_machine(config, tokens, _measured(config))
    else:
        reference = asked.model_copy(update={"hidden_size": REFERENCE.hidden_size})
        machine = _measured(reference, speed=True)
        assert machine.tokens_per_minute
        facts = Facts(tokens, vocab_size, machine.tokens_per_minute, init_from)
        config, note = apply_preset(asked, facts)
        if config.hidden_size != REFERENCE.hidden_size:  # its best precision may differ
            arithmetic = _measured(config).arithmetic
            machine = Machine(arithmetic, machine.tokens_per_minute)
        resolved = _on_machine(config, tokens, machine)
    return dataclasses.replace(resolved, notes=(note, *resolved.notes))


def resolve_machine(config: TrainConfig, tokens: int) -> Resolved:
    """Set device, precision, threads and batch size for this machine; configure torch.

    `tokens` is the length of the training split.
    """
    device.configure(config.threads, deterministic=config.deterministic)
    return _on_machine(config, tokens, _measured(config))


def _measured(config: TrainConfig, *, speed: bool = False) -> Machine:
    """Return the device and the precision for a network of these settings."""
    return device.measure_machine(
        device.choose_device(config.device),
        config.precision,
        config.hidden_size,
        config.batch_size,
        timed=not config.deterministic,
        speed=speed,
    )


def _on_machine(config: TrainConfig, tokens: int, machine: Machine) -> Resolved:
    batch_size, notes = config.batch_size, []
    if config.sampler != "records":  # whose batches can be smaller
        batch_size = fitting_batch_size(tokens, config.batch_size, config.bptt)
    if batch_size < config.batch_size:
        notes.append(
            f"batch size {config.batch_size} → {batch_size}: {tokens:,} training tokens fill only "
            f"{batch_size} rows of bptt {config.bptt}"
        )
    chosen = {
        "batch_size": batch_size,
        "precision": machine.arithmetic.precision,
        "device": str(machine.arithmetic.device),
        "threads": torch.get_num_threads(),
    }
    config = config.model_copy(update=chosen)
    speed = machine.tokens_per_minute or TOKENS_PER_MINUTE
    return Resolved(config, tuple(notes), _planned_tokens(config, tokens, speed))


def _planned_tokens(config: TrainConfig, tokens: int, tokens_per_minute: float) -> float:
    """Estimate the number of tokens that a run will train on."""
    if config.minutes is not None:
        return config.minutes * tokens_per_minute
    if config.steps is not None:
        return config.steps * config.batch_size * config.bptt
    return (config.epochs or 1.0) * tokens
