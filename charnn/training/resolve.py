"""Resolve the settings of a run from given settings, preset, dataset and machine."""

import dataclasses
from dataclasses import dataclass

import torch

from charnn.config import TrainConfig
from charnn.data.dataset import Dataset
from charnn.data.samplers import fitting_batch_size
from charnn.model import device
from charnn.training.benchmark import Machine, measure_machine
from charnn.training.presets import (
    TOKENS_PER_MINUTE,
    Facts,
    apply_preset,
    reference_speed,
    tokens_in_minutes,
)
from charnn.training.time_budget import is_short

# A run whose speed differs by more than this factor from the benchmark is planned again. The other
# network must be the better one even if the difference is smaller by this factor.
SPEED_TOLERANCE = 1.25


@dataclass(frozen=True)
class Resolved:
    """The settings of a run, and a note for each choice.

    `planned_tokens` is the approximate number of tokens that the run trains on, and
    `tokens_per_minute` the speed of the benchmark, None if none was needed.
    """

    config: TrainConfig
    notes: tuple[str, ...]
    planned_tokens: float
    tokens_per_minute: float | None = None


def resolve(asked: TrainConfig, dataset: Dataset, init_from: str = "") -> Resolved:
    """Return the settings of a new run, and set the threads and determinism of torch.

    Given fields of `asked` take precedence over the preset; `init_from` is the name of the model
    that the run starts from, if any. For a budget in minutes the preset is chosen for the usual
    speed first, and again for the measured speed of the chosen network, unless the budget is
    short. Raise UsageError if the settings are inconsistent, DataError if the text is too short for
    them.
    """
    device.configure(asked.threads, deterministic=asked.deterministic)
    tokens, vocab_size = len(dataset.split("train")), dataset.tokenizer.vocab_size
    facts = Facts(tokens, vocab_size, init_from=init_from)
    if asked.minutes is None or is_short(asked):
        config, note = apply_preset(asked, facts)
        machine = _measured(config, dataset)
    else:
        config, note, machine = _sized_by_speed(asked, dataset, facts)
    return _on_machine(config, dataset, machine, note)


def resolve_machine(config: TrainConfig, dataset: Dataset) -> Resolved:
    """Set device, precision, threads and batch size for this machine; configure torch."""
    device.configure(config.threads, deterministic=config.deterministic)
    return _on_machine(config, dataset, _measured(config, dataset))


def reconsider(
    resolved: Resolved,
    asked: TrainConfig,
    dataset: Dataset,
    tokens_per_minute: float,
    init_from: str = "",
) -> Resolved | None:
    """Return other settings for a run whose speed differs from that of the benchmark.

    `tokens_per_minute` is the speed of the run. The preset changes only if it would also for a
    difference that is smaller by SPEED_TOLERANCE; regularization is that for the new speed. None if
    the speed differs by less than SPEED_TOLERANCE, or if the run was not planned by a benchmark.
    """
    before = resolved.config
    if resolved.tokens_per_minute is None:
        return None
    ratio = tokens_per_minute / resolved.tokens_per_minute
    if 1 / SPEED_TOLERANCE <= ratio <= SPEED_TOLERANCE:
        return None
    vocab_size = dataset.tokenizer.vocab_size
    speed = reference_speed(before, vocab_size, tokens_per_minute)
    facts = Facts(len(dataset.split("train")), vocab_size, speed, init_from)
    cautious = speed / SPEED_TOLERANCE if ratio > 1 else speed * SPEED_TOLERANCE
    config, _ = apply_preset(asked, dataclasses.replace(facts, tokens_per_minute=cautious))
    is_same = config.shape(vocab_size) == before.shape(vocab_size)
    preset = before.preset if is_same else config.preset  # the same one: only regularization
    config, note = apply_preset(asked.model_copy(update={"preset": preset}), facts)
    if is_same:
        arithmetic = device.Arithmetic(torch.device(before.device), before.precision)
        machine = Machine(arithmetic, tokens_per_minute)
    else:
        machine = _measured(config, dataset, speed=True)
    compared = (
        f"{ratio:.1f} times as fast as" if ratio > 1 else f"{1 / ratio:.1f} times slower than"
    )
    return _on_machine(config, dataset, machine, f"training is {compared} in the benchmark: {note}")


def _sized_by_speed(
    asked: TrainConfig, dataset: Dataset, facts: Facts
) -> tuple[TrainConfig, str, Machine]:
    """Return settings whose size fits the measured speed of the machine."""
    measured: dict[int, Machine] = {}
    while True:
        config, note = apply_preset(asked, facts)
        if config.hidden_size in measured:
            return config, note, measured[config.hidden_size]
        machine = measured[config.hidden_size] = _measured(config, dataset, speed=True)
        assert machine.tokens_per_minute
        speed = reference_speed(config, facts.vocab_size, machine.tokens_per_minute)
        facts = dataclasses.replace(facts, tokens_per_minute=speed)


def _measured(config: TrainConfig, dataset: Dataset, *, speed: bool = False) -> Machine:
    """Return the device and the precision for a network of these settings."""
    tokens, vocab_size = dataset.split("train"), dataset.tokenizer.vocab_size
    return measure_machine(config, tokens, vocab_size, dataset.start_token, speed=speed)


def _on_machine(
    config: TrainConfig, dataset: Dataset, machine: Machine, note: str = ""
) -> Resolved:
    tokens = len(dataset.split("train"))
    batch_size, notes = fitting_batch_size(config, tokens), [note, machine.note]
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
    speed = machine.tokens_per_minute
    planned = _planned_tokens(config, tokens, speed or TOKENS_PER_MINUTE)
    return Resolved(config, tuple(filter(None, notes)), planned, speed)


def _planned_tokens(config: TrainConfig, tokens: int, tokens_per_minute: float) -> float:
    """Estimate the number of tokens that a run will train on."""
    if config.minutes is not None:
        return tokens_in_minutes(config.minutes, tokens_per_minute)
    if config.steps is not None:
        return config.steps * config.batch_size * config.bptt
    return (config.epochs or 1.0) * tokens
