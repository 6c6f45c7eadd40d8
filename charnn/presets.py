"""Settings for people who give none: fixed presets, and `auto`, which looks at the data.

Never knows: files, torch, how training works.
"""

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
SMALLEST_TEXT = {"small": 20_000, "medium": 60_000, "large": 300_000}  # tokens that a size is for
LARGE_FROM = 5  # passes that a budget in minutes must leave time for
LARGE_VOCABULARY = 3_000  # from which on the loss is over a part of it: words, hanzi
FEWEST_SAMPLED, SAMPLED_SHARE = 1024, 8  # symbols drawn: one in so many, but not fewer
FEWEST_WINDOWS = 4  # windows that each row of a batch should hold in an epoch
# About what two cores read; only to guess how often the text is read.
TOKENS_A_MINUTE = 2e6
LARGE_TOKENS_A_MINUTE = 1.5e6
# The more often a text is read, the more must be done against learning it by heart: passes up to
# which a row applies. Where the weights are averaged, the rates need not sink so far.
REGULARISERS: tuple[tuple[float, dict[str, Any]], ...] = (
    (2, {"dropout": 0.1}),
    (6, {"dropout": 0.2}),
    (8, {"dropout": 0.4}),
    (12, {"dropout": 0.5}),
    (20, {"dropout": 0.5, "average": True}),
    (float("inf"), {"dropout": 0.6, "average": True, "final_lr_frac": 0.3}),
)
REGULARISED_WIDTH = 512  # of the network that those are for; a wider one needs more


@dataclass(frozen=True)
class Facts:
    """What `auto` may look at: tokens of the training split, and the size of the vocabulary."""

    tokens: int
    vocab_size: int


def resolve(given: Mapping[str, Any], facts: Facts) -> tuple[TrainConfig, str]:
    """The full configuration, `given` over the preset, and one line that says what was chosen.

    Raises UsageError where the result makes no sense.
    """
    asked = given.get("preset", "auto")
    size, why = _size_for(given, facts) if asked == "auto" else (asked, "as asked")
    defaults = {**PRESETS[size], **_fitting(given, PRESETS[size], facts)}
    if not any(given.get(budget) for budget in BUDGETS):
        defaults["epochs"] = EPOCHS[size]
    settings = {**defaults, **given}
    passes = _passes(settings, facts)
    defaults |= _regularised(given, passes * max(1.0, settings["hidden_size"] / REGULARISED_WIDTH))
    if facts.vocab_size >= LARGE_VOCABULARY:
        defaults["sampled_softmax"] = max(FEWEST_SAMPLED, facts.vocab_size // SAMPLED_SHARE)
    if given.get("tie_weights") and "embedding_dim" not in given:
        defaults["embedding_dim"] = given.get("hidden_size", defaults["hidden_size"])
    config = validate(TrainConfig, {**defaults, **given})
    read = f"about {passes:.1f} passes over {facts.tokens:,} tokens"
    averaged = " and averaged weights" * config.average
    return config, f"preset {size}, {why}: {read}, so dropout {config.dropout}{averaged}"


def _regularised(given: Mapping[str, Any], passes: float) -> dict[str, Any]:
    """What so many passes need. Rates that stay high need the average that evens them out."""
    settings = next(row for most, row in REGULARISERS if passes <= most)
    if given.get("average") is False:
        return {name: value for name, value in settings.items() if name != "final_lr_frac"}
    return dict(settings)


def _size_for(given: Mapping[str, Any], facts: Facts) -> tuple[str, str]:
    """The size for so much text, and where there are minutes, for so much time."""
    minutes = given.get("minutes") or 0
    if (
        facts.tokens >= SMALLEST_TEXT["large"]
        and minutes * LARGE_TOKENS_A_MINUTE >= LARGE_FROM * facts.tokens
    ):
        return "large", f"by the size of the text and {minutes:g} minutes"
    reason = "by the size of the text"
    fitting = [size for size in ("small", "medium") if facts.tokens >= SMALLEST_TEXT[size]]
    return (fitting or ["tiny"])[-1], reason


def _passes(settings: Mapping[str, Any], facts: Facts) -> float:
    """About how often the text will be read."""
    if settings.get("epochs"):
        return float(settings["epochs"])
    if settings.get("steps"):
        tokens = settings["steps"] * settings["batch_size"] * settings["bptt"]
    else:
        wide = settings["hidden_size"] >= PRESETS["large"]["hidden_size"]
        rate = LARGE_TOKENS_A_MINUTE if wide else TOKENS_A_MINUTE
        tokens = (settings.get("minutes") or 0) * rate
    return float(tokens) / max(1, facts.tokens)


def _fitting(given: Mapping[str, Any], preset: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """A batch size and a bptt that give even a small text some steps an epoch."""
    bptt = given.get("bptt", 64)
    if "bptt" not in given:
        bptt = max(1, min(bptt, facts.tokens - 1))
    rows = max(1, (facts.tokens - 1) // (bptt * FEWEST_WINDOWS))
    return {"bptt": bptt, "batch_size": min(preset.get("batch_size", 64), rows)}
