"""Presets: default settings by size of the text and time budget."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charnn.config import BUDGETS, TrainConfig


@dataclass(frozen=True)
class Preset:
    """A network size with its batch size, learning rate and epochs, and the text it is for.

    `min_text` is the length in tokens of the shortest text it is for. `min_read` is the number of
    tokens that a run must have time to read for the size to end below the loss of the next smaller
    one, for a text of REFERENCE_TEXT tokens; a longer text needs up to MAX_READ times as many.
    """

    hidden_size: int
    embedding_dim: int
    batch_size: int
    lr: float
    epochs: float
    min_text: int
    min_read: float


# All numbers here were measured: benchmarks/README.md, "recipe.py".
PRESETS = {
    "tiny": Preset(128, 64, 32, 8e-3, epochs=20, min_text=0, min_read=0),
    "small": Preset(256, 128, 32, 6e-3, epochs=12, min_text=20_000, min_read=0.3e6),
    "medium": Preset(512, 128, 64, 4e-3, epochs=10, min_text=60_000, min_read=2.5e6),
    "large": Preset(768, 128, 64, 4e-3, epochs=10, min_text=300_000, min_read=12e6),
}
REFERENCE_TEXT = 1e6  # tokens
MAX_READ = 3
LARGE_VOCABULARY = 3_000  # symbols from which on the loss is a sampled softmax: words, hanzi
TIED_VOCABULARY = 1_000  # symbols from which on input and output embedding are one matrix
MIN_SAMPLED, SAMPLED_DIVISOR = 1024, 8  # negative samples: a part of the vocabulary, at least some
MIN_WINDOWS = 4  # windows that each row of a batch should hold in an epoch
FINE_TUNING_LR = 0.5  # factor of the learning rates of a run from the weights of another model
SGD_LR = 3.0  # plain gradient descent, whose step has the size of the gradient
# Dropout on the input of a large vocabulary: effective epochs up to which a rate applies.
INPUT_DROPOUT = ((12, 0.0), (40, 0.4), (float("inf"), 0.7))
# The network whose speed is measured, and its speed on two CPU cores where nothing was measured.
REFERENCE = PRESETS["medium"]
TOKENS_PER_MINUTE = 2.4e6
# More epochs need more regularization: effective epochs up to which a row applies. Where the
# weights are averaged, the learning rate need not fall as far.
REGULARIZATION: tuple[tuple[float, dict[str, Any]], ...] = (
    (4, {"dropout": 0.0}),
    (5, {"dropout": 0.2}),
    (11, {"dropout": 0.3, "average": True}),
    (14, {"dropout": 0.4, "average": True}),
    (26, {"dropout": 0.5, "average": True}),
    (float("inf"), {"dropout": 0.6, "average": True, "final_lr_frac": 0.3}),
)


@dataclass(frozen=True)
class Facts:
    """What presets depend on: tokens of the training split, vocabulary size, speed of the machine.

    The speed is that of training the REFERENCE network; it matters for a budget in minutes only.
    `init_from` names the model whose weights the run starts from.
    """

    tokens: int
    vocab_size: int
    tokens_per_minute: float = TOKENS_PER_MINUTE
    init_from: str = ""


def apply_preset(asked: TrainConfig, facts: Facts) -> tuple[TrainConfig, str]:
    """Return the configuration and one line about it: the preset fills in what was not asked for.

    Instead of `auto` the configuration names the preset that was chosen. Raise UsageError if the
    widths of the network do not fit together.
    """
    name = _choose(asked, facts) if asked.preset == "auto" else asked.preset
    config = _fill(asked, _sizes(PRESETS[name], asked, facts))
    epochs = _tokens_to_read(config, facts) / max(1, facts.tokens)
    config = _fill(config, _regularization(epochs, config, facts))
    config = config.model_copy(update={"preset": name})
    config.shape(facts.vocab_size)  # its widths must agree
    return config, _summary(asked, config, epochs, facts)


def _is_given(config: TrainConfig, name: str) -> bool:
    return name in config.model_fields_set and getattr(config, name) is not None


def _fill(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Return a configuration with `values` for those fields that were not given."""
    missing = {name: value for name, value in values.items() if not _is_given(config, name)}
    return config.model_copy(update=missing)


def _summary(asked: TrainConfig, config: TrainConfig, epochs: float, facts: Facts) -> str:
    """Return one line: the network, what it was chosen for, the epochs and the regularization."""
    network = f"{config.cell.upper()} {config.num_layers}×{config.hidden_size}"
    what = f"preset {config.preset} ({network})"
    if facts.init_from:
        what = f"{network} with the weights of {facts.init_from}"
    elif asked.preset == "auto":
        what = f"chose {what}"
    time = f" and {asked.minutes:g} min" if asked.minutes is not None else ""
    parts = [f"about {epochs:.1f} epochs", f"dropout {config.dropout:g}"]
    if config.input_dropout:
        parts.append(f"input dropout {config.input_dropout:g}")
    if config.average:
        parts.append("weight averaging")
    return f"{what} for {facts.tokens:,} tokens{time}: {', '.join(parts)}"


def _choose(asked: TrainConfig, facts: Facts) -> str:
    """Return the preset for the text, and with minutes for what can be read in them."""
    by_text = _largest_for_text(facts)
    if asked.minutes is None:
        return by_text
    longer = min(MAX_READ, _length_ratio(facts.tokens))
    in_time = [
        name
        for name, preset in PRESETS.items()
        if facts.tokens >= preset.min_text
        and _tokens_to_read(_fill(asked, _sizes(preset, asked, facts)), facts)
        >= preset.min_read * longer
    ]
    return (in_time or ["tiny"])[-1]


def _largest_for_text(facts: Facts) -> str:
    """Return the largest preset that the text alone calls for; `large` needs time as well."""
    sizes = ("tiny", "small", "medium")
    return [name for name in sizes if facts.tokens >= PRESETS[name].min_text][-1]


def _sizes(preset: Preset, asked: TrainConfig, facts: Facts) -> dict[str, Any]:
    """Return what a preset sets for this text: sizes, learning rate, length of training."""
    bptt, batch_size = _batching(preset, asked, facts)
    width = asked.hidden_size if _is_given(asked, "hidden_size") else preset.hidden_size
    is_tied = facts.vocab_size >= TIED_VOCABULARY and not _is_given(asked, "embedding_dim")
    if _is_given(asked, "tie_weights"):
        is_tied = asked.tie_weights
    values: dict[str, Any] = {
        "hidden_size": width,
        "embedding_dim": width if is_tied else preset.embedding_dim,
        "tie_weights": is_tied,
        "bptt": bptt,
        "batch_size": batch_size,
        "lr": SGD_LR if asked.optimizer == "sgd" else preset.lr,
    }
    if facts.init_from:
        values["lr"] *= FINE_TUNING_LR
        values["matrix_lr"] = asked.matrix_lr * FINE_TUNING_LR
    if not any(_is_given(asked, budget) for budget in BUDGETS):
        values["epochs"] = preset.epochs
    if facts.vocab_size >= LARGE_VOCABULARY:
        values["sampled_softmax"] = max(MIN_SAMPLED, facts.vocab_size // SAMPLED_DIVISOR)
    return values


def _batching(preset: Preset, asked: TrainConfig, facts: Facts) -> tuple[int, int]:
    """Return a bptt and a batch size that give even a small text some steps an epoch."""
    longest = max(1, facts.tokens - 1)
    bptt = asked.bptt if _is_given(asked, "bptt") else min(asked.bptt, longest)
    rows = max(1, (facts.tokens - 1) // (bptt * MIN_WINDOWS))
    return bptt, min(preset.batch_size, rows)


def _regularization(epochs: float, config: TrainConfig, facts: Facts) -> dict[str, Any]:
    """Return the regularization of a network that reads a text for this many epochs."""
    effective = _effective_epochs(epochs, config, facts)
    settings = dict(next(row for most, row in REGULARIZATION if effective <= most))
    if _is_given(config, "average") and not config.average:
        settings.pop("final_lr_frac", None)  # a rate that stays high needs the average
    if facts.vocab_size >= TIED_VOCABULARY:
        settings["input_dropout"] = next(rate for most, rate in INPUT_DROPOUT if effective <= most)
    return settings


def _effective_epochs(epochs: float, config: TrainConfig, facts: Facts) -> float:
    """Return epochs weighted by network size and text length, a proxy for overfitting.

    A network smaller than the preset for the text overfits less, and so does any on a longer text.
    """
    weights = _weights_per_token(config, _symbols(config, facts))
    expected = _weights_per_token(PRESETS[_largest_for_text(facts)])
    return epochs * (weights / expected) / _length_ratio(facts.tokens)


def _length_ratio(tokens: int) -> float:
    """Return the root of the ratio of a text's length to REFERENCE_TEXT; at least 1."""
    return math.sqrt(max(1.0, tokens / REFERENCE_TEXT))


def _tokens_to_read(config: TrainConfig, facts: Facts) -> float:
    """Estimate how many tokens the run will train on, all epochs included."""
    if config.epochs is not None:
        return config.epochs * facts.tokens
    if config.steps is not None:
        return float(config.steps * config.batch_size * config.bptt)
    assert config.minutes is not None
    ratio = _weights_per_token(REFERENCE) / _weights_per_token(config, _symbols(config, facts))
    return config.minutes * facts.tokens_per_minute * ratio


def _symbols(config: TrainConfig, facts: Facts) -> int:
    """Return how many symbols the output layer computes for a token in training."""
    # Sampled softmax computes the symbols drawn and those of the batch, about as many.
    return min(facts.vocab_size, 2 * config.sampled_softmax or facts.vocab_size)


def _weights_per_token(network: TrainConfig | Preset, symbols: int = 0) -> int:
    """Return the number of weights that one token multiplies: four gates a layer, and the output.

    A proxy for the time per token and for the capacity of the network.
    """
    width, inputs = network.hidden_size, network.embedding_dim
    depth = 1 if isinstance(network, Preset) else network.num_layers
    return 4 * width * (inputs + width + 2 * width * (depth - 1)) + width * symbols
