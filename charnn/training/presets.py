"""Presets: default settings by size of the text and time budget."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charnn.config import BUDGETS, TrainConfig


@dataclass(frozen=True)
class Preset:
    """A network size with its batch size, learning rate and epochs, and when to choose it.

    `min_text` is the minimum length of the text in tokens. `min_read` is the number of tokens that
    a run must train on for this size to reach a lower loss than the next smaller one, for a text
    of REFERENCE_TEXT tokens; a longer text needs up to MAX_READ times as many.
    """

    hidden_size: int
    embedding_dim: int
    batch_size: int
    lr: float
    epochs: float
    min_text: int
    min_read: float


# All numbers were measured: benchmarks/README.md, "recipe.py".
PRESETS = {
    "tiny": Preset(128, 64, 32, 8e-3, epochs=20, min_text=0, min_read=0),
    "small": Preset(256, 128, 32, 6e-3, epochs=12, min_text=20_000, min_read=0.3e6),
    "medium": Preset(512, 128, 64, 4e-3, epochs=10, min_text=60_000, min_read=2.5e6),
    "large": Preset(768, 128, 64, 4e-3, epochs=10, min_text=300_000, min_read=12e6),
}
REFERENCE_TEXT = 1e6  # tokens
MAX_READ = 3
LARGE_VOCABULARY = 3_000  # minimum vocabulary size for sampled softmax: words, Chinese characters
TIED_VOCABULARY = 1_000  # minimum vocabulary size for tied weights
MIN_SAMPLED, SAMPLED_DIVISOR = 1024, 8  # negative samples: minimum, and vocabulary size per sample
MIN_WINDOWS = 4  # minimum windows per row of a batch in an epoch
# With --init-from and a text of less than SHORT_TEXT tokens, learning rates are multiplied by
# FINE_TUNING_LR. On longer texts the full rates are better (benchmarks/README.md, fine_tuning.py).
FINE_TUNING_LR, SHORT_TEXT = 0.5, 100_000
SGD_LR = 3.0  # plain gradient descent, whose steps are proportional to the gradient
# Input dropout for a large vocabulary: maximum effective epochs and rate.
INPUT_DROPOUT = ((12, 0.0), (40, 0.4), (float("inf"), 0.7))
# Speeds are those of training this network. Its speed on two CPU cores is assumed for the first
# choice of a size, whose speed is then measured.
REFERENCE = PRESETS["medium"]
TOKENS_PER_MINUTE = 3e6
# Of a budget in minutes, start-up and final evaluation take about OVERHEAD_SECONDS, and training
# this fraction of the rest, without validations; at least MIN_TRAINING of the whole.
OVERHEAD_SECONDS, TRAINING_FRACTION, MIN_TRAINING = 8.0, 0.9, 0.1
# More epochs need more regularization: maximum effective epochs, and settings. With averaged
# weights the final learning rate can be higher.
REGULARIZATION: tuple[tuple[float, dict[str, Any]], ...] = (
    (4, {"dropout": 0.0}),
    (11, {"dropout": 0.3, "average": True}),
    (14, {"dropout": 0.4, "average": True}),
    (26, {"dropout": 0.5, "average": True}),
    (float("inf"), {"dropout": 0.6, "average": True, "final_lr_frac": 0.3}),
)
# The same for records, whose order is new in each epoch, so that they need less of it
# (benchmarks/notes.md, records). Averaged weights are better from the start.
RECORD_REGULARIZATION: tuple[tuple[float, dict[str, Any]], ...] = (
    (4, {"dropout": 0.0, "average": True}),
    (26, {"dropout": 0.3, "average": True}),
    (float("inf"), {"dropout": 0.6, "weight_dropout": 0.5, "average": True}),
)


@dataclass(frozen=True)
class Facts:
    """Inputs of the preset choice: training tokens, vocabulary size, and speed of the machine.

    The speed is that of training the REFERENCE network, see `reference_speed`; it is used only for
    a budget in minutes. `init_from` is the name of the model that the run starts from.
    """

    tokens: int
    vocab_size: int
    tokens_per_minute: float = TOKENS_PER_MINUTE
    init_from: str = ""


def apply_preset(asked: TrainConfig, facts: Facts) -> tuple[TrainConfig, str]:
    """Fill in the settings that were not given; return the configuration and a one-line summary.

    The configuration has the name of the chosen preset instead of "auto". Raise UsageError if the
    sizes of the network are inconsistent.
    """
    name = _choose(asked, facts) if asked.preset == "auto" else asked.preset
    config = _fill(asked, _sizes(PRESETS[name], asked, facts))
    epochs = _tokens_to_read(config, facts) / max(1, facts.tokens)
    config = _fill(config, _regularization(epochs, config, facts))
    config = config.model_copy(update={"preset": name})
    config.shape(facts.vocab_size)  # raises UsageError
    return config, run_summary(_origin(asked, config, facts), config, facts.tokens, epochs)


def _is_given(config: TrainConfig, name: str) -> bool:
    return name in config.model_fields_set and getattr(config, name) is not None


def _fill(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Return a configuration with `values` for those fields that were not given."""
    missing = {name: value for name, value in values.items() if not _is_given(config, name)}
    return config.model_copy(update=missing)


def run_summary(origin: str, config: TrainConfig, tokens: int, epochs: float) -> str:
    """Return one line about a run: network, training tokens, time, epochs and regularization.

    `origin` says where the network comes from: a preset, another model, or a checkpoint.
    """
    network = f"{config.cell.upper()} {config.num_layers}×{config.hidden_size}"
    time = f" and {config.minutes:g} min" if config.minutes is not None else ""
    shown = f"{epochs:.1f}" if epochs >= 0.1 else f"{epochs:.1g}"  # noqa: PLR2004
    parts = [f"about {shown} epochs", f"dropout {config.dropout:g}"]
    if config.input_dropout:
        parts.append(f"input dropout {config.input_dropout:g}")
    if config.average:
        parts.append("weight averaging")
    return f"{origin} ({network}) for {tokens:,} tokens{time}: {', '.join(parts)}"


def _origin(asked: TrainConfig, config: TrainConfig, facts: Facts) -> str:
    if facts.init_from:
        return f"weights of {facts.init_from}"
    return f"chose preset {config.preset}" if asked.preset == "auto" else f"preset {config.preset}"


def _choose(asked: TrainConfig, facts: Facts) -> str:
    """Return the preset for the length of the text and the time budget."""
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
    """Return the largest preset for the length of the text, except `large`, which needs time."""
    sizes = ("tiny", "small", "medium")
    return [name for name in sizes if facts.tokens >= PRESETS[name].min_text][-1]


def _sizes(preset: Preset, asked: TrainConfig, facts: Facts) -> dict[str, Any]:
    """Return the settings of a preset for this text: sizes, learning rate, length of training."""
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
    if facts.init_from and facts.tokens < SHORT_TEXT:
        values["lr"] *= FINE_TUNING_LR
        values["matrix_lr"] = asked.matrix_lr * FINE_TUNING_LR
    if not any(_is_given(asked, budget) for budget in BUDGETS):
        values["epochs"] = preset.epochs
    if facts.vocab_size >= LARGE_VOCABULARY:
        values["sampled_softmax"] = max(MIN_SAMPLED, facts.vocab_size // SAMPLED_DIVISOR)
    return values


def _batching(preset: Preset, asked: TrainConfig, facts: Facts) -> tuple[int, int]:
    """Return bptt and batch size, reduced for a small text so that an epoch has several steps."""
    longest = max(1, facts.tokens - 1)
    bptt = asked.bptt if _is_given(asked, "bptt") else min(asked.bptt, longest)
    rows = max(1, (facts.tokens - 1) // (bptt * MIN_WINDOWS))
    return bptt, min(preset.batch_size, rows)


def _regularization(epochs: float, config: TrainConfig, facts: Facts) -> dict[str, Any]:
    """Return the regularization settings for this number of epochs."""
    effective = _effective_epochs(epochs, config, facts)
    table = RECORD_REGULARIZATION if config.sampler == "records" else REGULARIZATION
    settings = dict(next(row for most, row in table if effective <= most))
    if _is_given(config, "average") and not config.average:
        settings.pop("final_lr_frac", None)  # a high final rate needs averaging
    if facts.vocab_size >= TIED_VOCABULARY:
        settings["input_dropout"] = next(rate for most, rate in INPUT_DROPOUT if effective <= most)
    return settings


def _effective_epochs(epochs: float, config: TrainConfig, facts: Facts) -> float:
    """Return epochs weighted by network size and text length, a proxy for overfitting.

    A network smaller than the preset for the text overfits less, and so does one on a longer text.
    """
    weights = _weights_per_token(config, _symbols(config, facts.vocab_size))
    expected = _weights_per_token(PRESETS[_largest_for_text(facts)])
    return epochs * (weights / expected) / _length_ratio(facts.tokens)


def _length_ratio(tokens: int) -> float:
    """Return the square root of the text length relative to REFERENCE_TEXT; at least 1."""
    return math.sqrt(max(1.0, tokens / REFERENCE_TEXT))


def reference_speed(config: TrainConfig, vocab_size: int, tokens_per_minute: float) -> float:
    """Convert a measured training speed of a network to that of the REFERENCE network."""
    return tokens_per_minute / _relative_speed(config, vocab_size)


def _relative_speed(config: TrainConfig, vocab_size: int) -> float:
    """Return the estimated training speed of a network relative to the REFERENCE network."""
    weights = _weights_per_token(config, _symbols(config, vocab_size))
    return _weights_per_token(REFERENCE) / weights


def _tokens_to_read(config: TrainConfig, facts: Facts) -> float:
    """Estimate the number of tokens that the run will train on, in all epochs."""
    if config.epochs is not None:
        return config.epochs * facts.tokens
    if config.steps is not None:
        return float(config.steps * config.batch_size * config.bptt)
    assert config.minutes is not None
    speed = facts.tokens_per_minute * _relative_speed(config, facts.vocab_size)
    return tokens_in_minutes(config.minutes, speed)


def tokens_in_minutes(minutes: float, tokens_per_minute: float) -> float:
    """Estimate the number of tokens that a run with a budget trains on, at the measured speed."""
    training = TRAINING_FRACTION * (minutes - OVERHEAD_SECONDS / 60)
    return max(MIN_TRAINING * minutes, training) * tokens_per_minute


def _symbols(config: TrainConfig, vocab_size: int) -> int:
    """Return the number of logits that the output layer computes per token in training."""
    # Sampled softmax: the negative samples, and about as many targets of the batch.
    return min(vocab_size, 2 * config.sampled_softmax or vocab_size)


def _weights_per_token(network: TrainConfig | Preset, symbols: int = 0) -> int:
    """Return the number of weights used per token: four gates per layer, and the output layer.

    It is a proxy for the time per token and for the capacity of the network.
    """
    width, inputs = network.hidden_size, network.embedding_dim
    depth = 1 if isinstance(network, Preset) else network.num_layers
    return 4 * width * (inputs + width + 2 * width * (depth - 1)) + width * symbols
