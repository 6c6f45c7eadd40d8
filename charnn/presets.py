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
    "medium": {"hidden_size": 512, "embedding_dim": 128, "batch_size": 64, "dropout": 0.2},
    "large": {"hidden_size": 1024, "embedding_dim": 256, "batch_size": 64, "dropout": 0.5},
}
EPOCHS = {"tiny": 20.0, "small": 15.0, "medium": 10.0, "large": 10.0}
FEWEST_WINDOWS = 4  # windows that each row of a batch should hold in an epoch


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
    size, why = _size_for(facts) if asked == "auto" else (asked, "as asked")
    defaults = {**PRESETS.get(size, {}), **_fitting(given, PRESETS.get(size, {}), facts)}
    if not any(given.get(budget) for budget in BUDGETS):
        defaults["epochs"] = EPOCHS.get(size, 1.0)
    if given.get("tie_weights") and "embedding_dim" not in given:
        defaults["embedding_dim"] = given.get("hidden_size", defaults["hidden_size"])
    config = validate(TrainConfig, {**defaults, **given})
    return config, f"preset {size} ({why})"


def _size_for(facts: Facts) -> tuple[str, str]:
    reason = f"{facts.tokens:,} tokens of {facts.vocab_size:,} kinds to learn from"
    for size, enough in (("tiny", 20_000), ("small", 80_000)):
        if facts.tokens < enough:
            return size, reason
    return "medium", reason


def _fitting(given: Mapping[str, Any], preset: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """A batch size and a bptt that give even a small text some steps an epoch."""
    bptt = given.get("bptt", 64)
    if "bptt" not in given:
        bptt = max(1, min(bptt, facts.tokens - 1))
    rows = max(1, (facts.tokens - 1) // (bptt * FEWEST_WINDOWS))
    return {"bptt": bptt, "batch_size": min(preset.get("batch_size", 64), rows)}
