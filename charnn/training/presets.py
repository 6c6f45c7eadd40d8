"""Presets: default settings by size of the text and time budget."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charnn.config import BUDGETS, TrainConfig, validate

# All numbers here were measured: benchmarks/README.md, "recipe.py".
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 128, "embedding_dim": 64, "batch_size": 32, "lr": 8e-3},
    "small": {"hidden_size": 256, "embedding_dim": 128, "batch_size": 32, "lr": 6e-3},
    "medium": {"hidden_size": 512, "embedding_dim": 128, "batch_size": 64},
    "large": {"hidden_size": 768, "embedding_dim": 128, "batch_size": 64},
}
EPOCHS = {"tiny": 20.0, "small": 12.0, "medium": 10.0, "large": 10.0}
MIN_TEXT = {"tiny": 0, "small": 20_000, "medium": 60_000, "large": 300_000}  # tokens of text
# Tokens that a size must have time to read to end below the loss of the next smaller one, for a
# text of REFERENCE_TEXT tokens; more for a longer text, up to MAX_READ times as many.
MIN_READ = {"tiny": 0, "small": 0.3e6, "medium": 2.5e6, "large": 12e6}
REFERENCE_TEXT = 1e6
MAX_READ = 3
LARGE_VOCABULARY = 3_000  # from here on the loss is a sampled softmax: words, hanzi
TIED_VOCABULARY = 1_000  # from here on input and output embedding are one matrix
MIN_SAMPLED, SAMPLED_DIVISOR = 1024, 8  # negative samples: a part of the vocabulary, at least some
MIN_WINDOWS = 4  # windows that each row of a batch should hold in an epoch
SGD_LR = 3.0  # plain gradient descent, whose step has the size of the gradient
# Dropout on the input of a large vocabulary: effective epochs up to which a rate applies.
INPUT_DROPOUT = ((12, 0.0), (40, 0.4), (float("inf"), 0.7))
# The network whose speed is measured, and its speed on two CPU cores where nothing was measured.
REFERENCE = {"hidden_size": 512, "embedding_dim": 128}
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
    """

    tokens: int
    vocab_size: int
    tokens_per_minute: float = TOKENS_PER_MINUTE


def apply_preset(given: Mapping[str, Any], facts: Facts) -> tuple[TrainConfig, str]:
    """Return the configuration, valid settings over the preset, and one line about the choice.

    Instead of `auto` the configuration names the preset that was chosen. Raise UsageError where the
    result makes no sense.
    """
    asked = given.get("preset", "auto")
    size, reason = _choose_size(given, facts) if asked == "auto" else (asked, "as asked")
    values = {**_size_defaults(size, given, facts), **given}
    epochs = _tokens_to_read(values, facts) / max(1, facts.tokens)
    values = {**values, **_regularization(epochs, values, given, facts), **given, "preset": size}
    config = validate(TrainConfig, values)
    config.shape(facts.vocab_size)  # its widths must agree
    return config, f"preset {size}, {reason}: {_summary(epochs, config, facts)}"


def _summary(epochs: float, config: TrainConfig, facts: Facts) -> str:
    text = f"about {epochs:.1f} passes over {facts.tokens:,} tokens, so dropout {config.dropout}"
    if config.input_dropout:
        text += f" ({config.input_dropout} on the input)"
    return text + " and averaged weights" if config.average else text


def _choose_size(given: Mapping[str, Any], facts: Facts) -> tuple[str, str]:
    """Return the size for the text, and with minutes for what can be read in them, and why."""
    by_text, reason = _largest_for_text(facts), "by the size of the text"
    minutes = given.get("minutes")
    if not minutes:
        return by_text, reason
    longer = min(MAX_READ, _length_ratio(facts.tokens))
    in_time = [
        size
        for size in PRESETS
        if _is_enough_text(size, facts)
        and _tokens_to_read({**_size_defaults(size, given, facts), **given}, facts)
        >= MIN_READ[size] * longer
    ]
    size = (in_time or ["tiny"])[-1]
    return size, reason if size == by_text else f"{reason} and {minutes:g} min of this machine"


def _largest_for_text(facts: Facts) -> str:
    """Return the largest size that the text alone calls for; `large` needs time as well."""
    return [size for size in ("tiny", "small", "medium") if _is_enough_text(size, facts)][-1]


def _is_enough_text(size: str, facts: Facts) -> bool:
    return facts.tokens >= MIN_TEXT[size]


def _size_defaults(size: str, given: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """Return what a preset sets for this text, the length of training included."""
    defaults = {**PRESETS[size], **_batching(given, PRESETS[size], facts)}
    if not any(given.get(budget) for budget in BUDGETS):
        defaults["epochs"] = EPOCHS[size]
    if given.get("optimizer") == "sgd":
        defaults["lr"] = SGD_LR
    if facts.vocab_size >= LARGE_VOCABULARY:
        defaults["sampled_softmax"] = max(MIN_SAMPLED, facts.vocab_size // SAMPLED_DIVISOR)
    if facts.vocab_size >= TIED_VOCABULARY:
        defaults["tie_weights"] = "embedding_dim" not in given
    if {**defaults, **given}.get("tie_weights") and "embedding_dim" not in given:
        defaults["embedding_dim"] = given.get("hidden_size", defaults["hidden_size"])
    return defaults


def _batching(given: Mapping[str, Any], preset: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """Return a batch size and a bptt that give even a small text some steps an epoch."""
    bptt = given.get("bptt", 64)
    if "bptt" not in given:
        bptt = max(1, min(bptt, facts.tokens - 1))
    rows = max(1, (facts.tokens - 1) // (bptt * MIN_WINDOWS))
    return {"bptt": bptt, "batch_size": min(preset.get("batch_size", 64), rows)}


def _regularization(
    epochs: float, values: Mapping[str, Any], given: Mapping[str, Any], facts: Facts
) -> dict[str, Any]:
    """Return the regularization for so many epochs of a network on a text."""
    effective = _effective_epochs(epochs, values, facts)
    settings = dict(next(row for most, row in REGULARIZATION if effective <= most))
    if given.get("average") is False:  # a rate that stays high needs the average
        settings.pop("final_lr_frac", None)
    if facts.vocab_size >= TIED_VOCABULARY:
        settings["input_dropout"] = next(rate for most, rate in INPUT_DROPOUT if effective <= most)
    return settings


def _effective_epochs(epochs: float, values: Mapping[str, Any], facts: Facts) -> float:
    """Return epochs weighted by network size and text length, a proxy for overfitting.

    A network smaller than the preset for the text overfits less, and so does any on a longer text.
    """
    weights = _weights_per_token(values, facts.vocab_size)
    expected = _weights_per_token(PRESETS[_largest_for_text(facts)], 0)
    return epochs * (weights / expected) / _length_ratio(facts.tokens)


def _length_ratio(tokens: int) -> float:
    """Return the root of the ratio of a text's length to REFERENCE_TEXT; at least 1."""
    return math.sqrt(max(1.0, tokens / REFERENCE_TEXT))


def _tokens_to_read(values: Mapping[str, Any], facts: Facts) -> float:
    """Estimate how many tokens the run will train on, all epochs included."""
    if values.get("epochs"):
        return float(values["epochs"]) * facts.tokens
    if values.get("steps"):
        return float(values["steps"] * values["batch_size"] * values["bptt"])
    ratio = _weights_per_token(REFERENCE, 0) / _weights_per_token(values, facts.vocab_size)
    return float(values["minutes"]) * (facts.tokens_per_minute * ratio)


def _weights_per_token(values: Mapping[str, Any], vocab_size: int) -> int:
    """Return the number of weights that one token multiplies: four gates a layer, and the output.

    A proxy for the time per token and for the capacity of the network.
    """
    width, inputs = values["hidden_size"], values["embedding_dim"]
    depth, sampled = values.get("num_layers", 1), values.get("sampled_softmax", 0)
    # Sampled softmax computes the symbols drawn and those of the batch, about as many.
    symbols = min(vocab_size, 2 * sampled) if sampled else vocab_size
    return int(4 * width * (inputs + width + 2 * width * (depth - 1)) + width * symbols)
