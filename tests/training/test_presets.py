"""Presets: the choice of `auto`, and the precedence of given settings."""

import dataclasses
from typing import Any

import pytest

from charnn.config import BUDGETS, TrainConfig, validate
from charnn.errors import UsageError
from charnn.training.presets import PRESETS, SGD_LR, Facts, apply_preset, tokens_in_minutes

FACTS = Facts(tokens=1_000_000, vocab_size=66)


def resolve(given: dict[str, Any], facts: Facts) -> tuple[TrainConfig, str]:
    """Return the configuration and the summary for given settings."""
    return apply_preset(validate(TrainConfig, given), facts)


def test_given_settings_take_precedence() -> None:
    """For every preset."""
    config, _ = resolve({"hidden_size": 77, "lr": 0.5, "preset": "large"}, FACTS)

    assert (config.hidden_size, config.lr) == (77, 0.5)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("tokens", [10, 1_000, 50_000, 10_000_000])
def test_every_preset_is_valid_for_every_text_size(name, tokens) -> None:
    """The configuration is complete and has exactly one budget."""
    config, why = resolve({"preset": name}, Facts(tokens, 66))

    assert isinstance(config, TrainConfig)
    assert sum(getattr(config, budget) is not None for budget in BUDGETS) == 1
    assert name in why


def test_auto_is_recorded_as_the_chosen_preset() -> None:
    """A run from the recorded settings is the same run, even if `auto` changes."""
    recorded, _ = resolve({"minutes": 5.0}, FACTS)
    again, why = resolve(recorded.model_dump(), Facts(tokens=5_000, vocab_size=9_000))

    assert recorded.preset == "medium"
    assert again == recorded
    assert why.startswith("preset medium")


def test_summary_of_auto_has_the_text_size() -> None:
    """Larger texts get larger networks."""
    sizes = [resolve({}, Facts(tokens, 66))[0].hidden_size for tokens in (5_000, 50_000, 10**6)]

    assert sizes == sorted(set(sizes))
    assert "1,000,000 tokens" in resolve({}, FACTS)[1]


def test_more_time_chooses_a_larger_network() -> None:
    """A short run gets a smaller one; the size for a small text does not change."""
    widths = [
        resolve({"minutes": minutes}, Facts(tokens, 66))[0].hidden_size
        for minutes, tokens in ((0.5, 10**6), (5.0, 10**6), (30.0, 10**6), (30.0, 10**5))
    ]

    assert widths == [256, 512, 768, 512]


def test_longer_text_needs_more_tokens_for_a_larger_network() -> None:
    """A network of 256 units improves for longer on three million tokens than on one million."""
    widths = [
        resolve({"minutes": minutes}, Facts(tokens, 66))[0].hidden_size
        for minutes, tokens in ((1.333, 10**6), (1.333, 3 * 10**6), (5.0, 10**8))
    ]

    assert widths == [512, 256, 512]


def test_faster_machine_chooses_a_larger_network() -> None:
    """The choice depends on the tokens read in the given minutes, which the summary names."""
    slow, quick = (
        resolve({"minutes": 2.0}, Facts(10**6, 66, tokens_per_minute=speed)) for speed in (4e5, 4e7)
    )

    assert slow[0].hidden_size < quick[0].hidden_size
    assert "2 min" in slow[1]


def test_large_vocabulary_ties_the_weights() -> None:
    """Unless tie_weights is false or embedding_dim is given."""
    facts = Facts(10**5, 5_000)
    tied, refused, other = (
        resolve(given, facts)[0] for given in ({}, {"tie_weights": False}, {"embedding_dim": 99})
    )

    assert tied.tie_weights
    assert tied.embedding_dim == tied.hidden_size
    assert not refused.tie_weights
    assert (other.tie_weights, other.embedding_dim) == (False, 99)
    assert not resolve({}, FACTS)[0].tie_weights


def test_input_dropout_of_a_large_vocabulary() -> None:
    """It grows with the epochs and is in the summary; letters and few epochs have none."""
    words = Facts(10**5, 5_000)
    (most, _), (often, why), (seldom, _), (letters, said) = (
        resolve({"epochs": epochs}, facts)
        for epochs, facts in ((40.0, words), (10.0, words), (2.0, words), (20.0, FACTS))
    )

    assert most.input_dropout > often.input_dropout > 0
    assert "input dropout" in why
    assert seldom.input_dropout == letters.input_dropout == 0
    assert "input dropout" not in said


def test_dropout_grows_with_epochs() -> None:
    """And with the size of the network."""
    rates = [resolve({"epochs": e}, FACTS)[0].dropout for e in (1.0, 8.0, 13.0, 20.0, 50.0)]

    assert rates == sorted(set(rates))
    wide = resolve({"epochs": 10.0, "preset": "large"}, FACTS)[0].dropout
    assert wide > resolve({"epochs": 10.0, "preset": "medium"}, FACTS)[0].dropout


def test_dropout_falls_with_text_length() -> None:
    """A longer text overfits less at the same number of epochs."""
    rates = [
        resolve({"epochs": 6.0}, Facts(tokens, 66))[0].dropout for tokens in (10**6, 3 * 10**6)
    ]

    assert rates[0] > rates[1] == 0


def test_many_epochs_average_the_weights() -> None:
    """The final learning rate is higher then, but not if averaging is turned off."""
    many, why = resolve({"epochs": 50.0}, FACTS)
    few, said = resolve({"epochs": 3.0}, FACTS)
    alone, _ = resolve({"epochs": 50.0, "average": False}, FACTS)

    assert many.average
    assert many.final_lr_frac > few.final_lr_frac
    assert why.endswith("weight averaging")
    assert not few.average
    assert "averaged" not in said
    assert (alone.average, alone.final_lr_frac) == (False, few.final_lr_frac)


def test_large_vocabulary_uses_sampled_softmax() -> None:
    """Words and Chinese characters do, letters do not."""
    sampled = [
        resolve({}, Facts(10**6, size))[0].sampled_softmax for size in (66, 1_000, 5_000, 40_000)
    ]

    assert sampled == [0, 0, 1024, 5000]


def test_small_text_reduces_batch_size_and_bptt() -> None:
    """Ten tokens are enough for a step; an epoch of most small texts has several steps."""
    config, _ = resolve({}, Facts(10, 5))
    assert config.bptt * config.batch_size <= 9

    config, _ = resolve({}, Facts(5_000, 60))
    assert 5_000 // (config.bptt * config.batch_size) >= 3


def test_tied_embedding_has_the_hidden_size() -> None:
    """Unless both sizes are given, which must then agree."""
    config, _ = resolve({"tie_weights": True, "hidden_size": 99}, FACTS)

    assert config.embedding_dim == 99


def test_fine_tuning_on_a_short_text_has_a_lower_learning_rate() -> None:
    """The summary names the model of the weights; given rates are kept."""
    short = Facts(40_000, 66, init_from="base")
    new, _ = resolve({}, dataclasses.replace(short, init_from=""))
    tuned, why = resolve({}, short)
    given, _ = resolve({"lr": 0.1}, short)
    on_long_text, _ = resolve({}, dataclasses.replace(FACTS, init_from="base"))

    assert tuned.lr < new.lr
    assert tuned.matrix_lr < new.matrix_lr
    assert "weights of base (LSTM 1×256)" in why
    assert given.lr == 0.1
    assert on_long_text.lr == resolve({}, FACTS)[0].lr


def test_null_budget_is_not_given() -> None:
    """If a settings file sets all three budgets to null, the preset sets the epochs."""
    config, _ = resolve({"epochs": None, "steps": None, "minutes": None}, FACTS)

    assert config.epochs == PRESETS["medium"].epochs


def test_tied_weights_of_different_sizes_are_a_usage_error() -> None:
    """The sizes are checked before the network is built."""
    with pytest.raises(UsageError, match="not 64 and 128"):
        resolve({"tie_weights": True, "embedding_dim": 64, "hidden_size": 128}, Facts(10**6, 65))


def test_settings_of_presets_are_marked_in_the_config() -> None:
    """`charnn train --help` shows the default of all other settings."""
    for facts in (Facts(500, 30), Facts(10**5, 60), Facts(10**6, 65), Facts(10**6, 50_000)):
        for budget in ({"epochs": 1.0}, {"epochs": 60.0}, {"minutes": 1.0}):
            config, _ = resolve(budget, facts)
            for name, value in config.model_dump(exclude={"data", "preset", *BUDGETS}).items():
                field = TrainConfig.model_fields[name]
                assert value == field.default or field.json_schema_extra["by_preset"], name


def test_sgd_has_a_larger_learning_rate() -> None:
    """The steps of the other optimizers do not scale with the gradient."""
    assert resolve({"optimizer": "sgd"}, FACTS)[0].lr == SGD_LR
    assert resolve({"optimizer": "sgd", "lr": 0.5}, FACTS)[0].lr == 0.5


@pytest.mark.parametrize(
    ("minutes", "fraction"), [(0.05, 0.1), (0.5, 0.66), (1.333, 0.81), (30.0, 0.896)]
)
def test_part_of_the_minutes_is_not_training(minutes, fraction) -> None:
    """Start-up, validations and final evaluation; a short budget has hardly any training."""
    assert tokens_in_minutes(minutes, 1e6) == pytest.approx(fraction * minutes * 1e6, rel=0.02)
