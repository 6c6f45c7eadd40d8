"""Presets: default settings by size of the text and time budget."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charnn.config import BUDGETS, TrainConfig, validate

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 128, "embedding_dim": 64, "batch_size": 32, "lr": 8e-3},
    "small": {"hidden_size": 256, "embedding_dim": 128, "batch_size": 32, "lr": 6e-3},
    "medium": {"hidden_size": 512, "embedding_dim": 128, "batch_size": 64},
    "large": {"hidden_size": 768, "embedding_dim": 128, "batch_size": 64},
}
EPOCHS = {"tiny": 20.0, "small": 12.0, "medium": 10.0, "large": 10.0}
# Tokens of text that a size is for, and tokens that it must have time to read, so as to be ahead
# of the size below: so many where the text is REFERENCE_TEXT long, more where it is longer and a
# small network still finds something new in it, up to MOST_READ times as many.
SMALLEST_TEXT = {"tiny": 0, "small": 20_000, "medium": 60_000, "large": 300_000}
LEAST_READ = {"tiny": 0, "small": 0.3e6, "medium": 2.5e6, "large": 12e6}
REFERENCE_TEXT = 1e6
MOST_READ = 3
LARGE_VOCABULARY = 3_000  # from which on the loss is over a part of it: words, hanzi
TIED_VOCABULARY = 1_000  # from which on a symbol has one vector, for input and output
FEWEST_SAMPLED, SAMPLED_SHARE = 1024, 8  # symbols drawn: one in so many, but not fewer
FEWEST_WINDOWS = 4  # windows that each row of a batch should hold in an epoch
SGD_LR = 3.0  # without momentum, and with no size of its own for each weight's step
# What so many symbols need on their way in: wear (as below) up to which a rate applies.
INPUT_DROPOUT = ((12, 0.0), (40, 0.4), (float("inf"), 0.7))
# The network whose speed is measured, and its speed where nothing was: that of two cores.
REFERENCE = {"hidden_size": 512, "embedding_dim": 128}
TOKENS_A_MINUTE = 2.4e6
# The more often a text is read, the more must be done against learning it by heart: wear up to
# which a row applies. Where the weights are averaged, the rates need not sink so far.
REGULARISERS: tuple[tuple[float, dict[str, Any]], ...] = (
    (4, {"dropout": 0.0}),
    (5, {"dropout": 0.2}),
    (11, {"dropout": 0.3, "average": True}),
    (14, {"dropout": 0.4, "average": True}),
    (26, {"dropout": 0.5, "average": True}),
    (float("inf"), {"dropout": 0.6, "average": True, "final_lr_frac": 0.3}),
)


@dataclass(frozen=True)
class Facts:
    """What `auto` may look at: tokens of the training split, size of the vocabulary, speed.

    The speed is that of training the network of REFERENCE here; it matters for a budget in
    minutes alone.
    """

    tokens: int
    vocab_size: int
    tokens_a_minute: float = TOKENS_A_MINUTE


def resolve(given: Mapping[str, Any], facts: Facts) -> tuple[TrainConfig, str]:
    """The full configuration, `given` over the preset, and one line that says what was chosen.

    Instead of `auto` the configuration names the preset that `auto` came to.
    Raises UsageError where the result makes no sense.
    """
    validate(TrainConfig, given)  # before anything is reckoned with them
    asked = given.get("preset", "auto")
    size, why = _size_for(given, facts) if asked == "auto" else (asked, "as asked")
    defaults = _defaults(size, given, facts)
    settings = {**defaults, **given}
    read = _tokens_to_read(settings, facts)
    passes = read / max(1, facts.tokens)
    wear = _effective_epochs(passes, settings, facts)
    defaults |= _regularised(given, wear)
    if facts.vocab_size >= TIED_VOCABULARY:
        defaults["input_dropout"] = next(rate for most, rate in INPUT_DROPOUT if wear <= most)
    config = validate(TrainConfig, {**defaults, **given, "preset": size})
    config.shape(facts.vocab_size)  # whose widths must agree
    on_input = f" ({config.input_dropout} on the input)" * (config.input_dropout > 0)
    averaged = " and averaged weights" * config.average
    return config, (
        f"preset {size}, {why}: about {passes:.1f} passes over {facts.tokens:,} tokens, "
        f"so dropout {config.dropout}{on_input}{averaged}"
    )


def _defaults(size: str, given: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """What a preset says for this text, how long to train included."""
    defaults = {**PRESETS[size], **_fitting(given, PRESETS[size], facts)}
    if not any(given.get(budget) for budget in BUDGETS):
        defaults["epochs"] = EPOCHS[size]
    if given.get("optimizer") == "sgd":
        defaults["lr"] = SGD_LR
    if facts.vocab_size >= LARGE_VOCABULARY:
        defaults["sampled_softmax"] = max(FEWEST_SAMPLED, facts.vocab_size // SAMPLED_SHARE)
    if facts.vocab_size >= TIED_VOCABULARY:
        defaults["tie_weights"] = "embedding_dim" not in given
    if {**defaults, **given}.get("tie_weights") and "embedding_dim" not in given:
        defaults["embedding_dim"] = given.get("hidden_size", defaults["hidden_size"])
    return defaults


def _effective_epochs(passes: float, settings: Mapping[str, Any], facts: Facts) -> float:
    """How worn a text gets: passes, where the network has the weights that the text calls for.

    One with fewer learns less by heart, and any learns less of a text that is longer.
    """
    weights = _work(settings, facts.vocab_size) / _work(PRESETS[_largest_for(facts)], 0)
    return passes * weights / _longer(facts.tokens)


def _longer(tokens: int) -> float:
    """The root of how many times a text is as long as REFERENCE_TEXT; for a shorter one, 1."""
    return math.sqrt(max(1.0, tokens / REFERENCE_TEXT))


def _regularised(given: Mapping[str, Any], wear: float) -> dict[str, Any]:
    """What so much wear needs. Rates that stay high need the average that evens them out."""
    settings = next(row for most, row in REGULARISERS if wear <= most)
    if given.get("average") is False:
        return {name: value for name, value in settings.items() if name != "final_lr_frac"}
    return dict(settings)


def _largest_for(facts: Facts) -> str:
    """The largest size that the text alone calls for; `large` needs time as well."""
    return [size for size in ("tiny", "small", "medium") if _is_enough_text(size, facts)][-1]


def _is_enough_text(size: str, facts: Facts) -> bool:
    return facts.tokens >= SMALLEST_TEXT[size]


def _size_for(given: Mapping[str, Any], facts: Facts) -> tuple[str, str]:
    """The size for so much text, and where there are minutes, for what they can read."""
    by_text, why = _largest_for(facts), "by the size of the text"
    minutes = given.get("minutes")
    if not minutes:
        return by_text, why
    longer = min(MOST_READ, _longer(facts.tokens))
    in_time = [
        size
        for size in PRESETS
        if _is_enough_text(size, facts)
        and _tokens_to_read({**_defaults(size, given, facts), **given}, facts)
        >= LEAST_READ[size] * longer
    ]
    size = (in_time or ["tiny"])[-1]
    return size, why if size == by_text else f"{why} and {minutes:g} min of this machine"


def _tokens_to_read(settings: Mapping[str, Any], facts: Facts) -> float:
    """About how many tokens the run will train on, those read again included."""
    if settings.get("epochs"):
        return float(settings["epochs"]) * facts.tokens
    if settings.get("steps"):
        return float(settings["steps"] * settings["batch_size"] * settings["bptt"])
    speed = facts.tokens_a_minute * _work(REFERENCE, 0) / _work(settings, facts.vocab_size)
    return float(settings["minutes"]) * speed


def _work(settings: Mapping[str, Any], vocab_size: int) -> int:
    """Multiplications a token takes: four gates a layer, and the symbols that the loss is over.

    They are also the weights that a token moves.
    """
    width, inputs = settings["hidden_size"], settings["embedding_dim"]
    depth, drawn = settings.get("num_layers", 1), settings.get("sampled_softmax", 0)
    symbols = min(vocab_size, 2 * drawn) if drawn else vocab_size  # drawn, and those of the batch
    return int(4 * width * (inputs + width + 2 * width * (depth - 1)) + width * symbols)


def _fitting(given: Mapping[str, Any], preset: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """A batch size and a bptt that give even a small text some steps an epoch."""
    bptt = given.get("bptt", 64)
    if "bptt" not in given:
        bptt = max(1, min(bptt, facts.tokens - 1))
    rows = max(1, (facts.tokens - 1) // (bptt * FEWEST_WINDOWS))
    return {"bptt": bptt, "batch_size": min(preset.get("batch_size", 64), rows)}
