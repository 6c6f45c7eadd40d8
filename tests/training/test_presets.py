"""Presets: what `auto` chooses, and that what is given always wins."""

import dataclasses
from typing import Any

import pytest

from charnn.config import BUDGETS, TrainConfig, validate
from charnn.errors import UsageError
from charnn.training.presets import PRESETS, SGD_LR, Facts, apply_preset

FACTS = Facts(tokens=1_000_000, vocab_size=66)


def resolve(given: dict[str, Any], facts: Facts) -> tuple[TrainConfig, str]:
    """Return the configuration for the settings given, and the line about it."""
    return apply_preset(validate(TrainConfig, given), facts)


def test_given_settings_win_over_the_preset() -> None:
    """Whatever the preset says."""
    config, _ = resolve({"hidden_size": 77, "lr": 0.5, "preset": "large"}, FACTS)

    assert (config.hidden_size, config.lr) == (77, 0.5)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("tokens", [10, 1_000, 50_000, 10_000_000])
def test_every_preset_is_valid_for_every_size(name, tokens) -> None:
    """The result is a whole configuration with exactly one budget."""
    config, why = resolve({"preset": name}, Facts(tokens, 66))

    assert isinstance(config, TrainConfig)
    assert sum(getattr(config, budget) is not None for budget in BUDGETS) == 1
    assert name in why


def test_what_auto_chose_is_recorded_by_its_name() -> None:
    """So that a run made from the record is the same run, whatever `auto` would choose by then."""
    recorded, _ = resolve({"minutes": 5.0}, FACTS)
    again, why = resolve(recorded.model_dump(), Facts(tokens=5_000, vocab_size=9_000))

    assert recorded.preset == "medium"
    assert again == recorded
    assert why.startswith("preset medium")


def test_auto_says_what_it_chose_and_why() -> None:
    """A line with the size of the text in it; larger texts get larger networks."""
    sizes = [resolve({}, Facts(tokens, 66))[0].hidden_size for tokens in (5_000, 50_000, 10**6)]

    assert sizes == sorted(set(sizes))
    assert "1,000,000 tokens" in resolve({}, FACTS)[1]


def test_time_enough_gets_a_wider_network() -> None:
    """And a short run a narrower one; a small text gets neither."""
    widths = [
        resolve({"minutes": minutes}, Facts(tokens, 66))[0].hidden_size
        for minutes, tokens in ((0.5, 10**6), (5.0, 10**6), (30.0, 10**6), (30.0, 10**5))
    ]

    assert widths == [256, 512, 768, 512]


def test_a_longer_text_keeps_a_narrow_network_busy_for_longer() -> None:
    """What 256 wide still learns of three million tokens, it has learnt of one by then."""
    widths = [
        resolve({"minutes": minutes}, Facts(tokens, 66))[0].hidden_size
        for minutes, tokens in ((1.333, 10**6), (1.333, 3 * 10**6), (5.0, 10**8))
    ]

    assert widths == [512, 256, 512]


def test_a_quick_machine_gets_a_wider_network_in_the_same_time() -> None:
    """What counts is how much can be read; the line names the minutes where they decided."""
    slow, quick = (
        resolve({"minutes": 2.0}, Facts(10**6, 66, tokens_per_minute=speed)) for speed in (4e5, 4e7)
    )

    assert slow[0].hidden_size < quick[0].hidden_size
    assert "2 min" in slow[1]


def test_a_large_vocabulary_ties_the_weights() -> None:
    """Unless that is refused, or an embedding of another width is asked for."""
    facts = Facts(10**5, 5_000)
    tied, refused, other = (
        resolve(given, facts)[0] for given in ({}, {"tie_weights": False}, {"embedding_dim": 99})
    )

    assert tied.tie_weights
    assert tied.embedding_dim == tied.hidden_size
    assert not refused.tie_weights
    assert (other.tie_weights, other.embedding_dim) == (False, 99)
    assert not resolve({}, FACTS)[0].tie_weights


def test_words_that_are_read_often_are_dropped_on_their_way_in() -> None:
    """The more the oftener; the line says so; letters never are, nor words read a few times."""
    words = Facts(10**5, 5_000)
    (most, _), (often, why), (seldom, _), (letters, said) = (
        resolve({"epochs": epochs}, facts)
        for epochs, facts in ((40.0, words), (10.0, words), (2.0, words), (20.0, FACTS))
    )

    assert most.input_dropout > often.input_dropout > 0
    assert "input dropout" in why
    assert seldom.input_dropout == letters.input_dropout == 0
    assert "input dropout" not in said


def test_the_more_often_a_text_is_read_the_more_is_dropped() -> None:
    """And the wider the network is."""
    rates = [resolve({"epochs": e}, FACTS)[0].dropout for e in (1.0, 4.5, 8.0, 13.0, 20.0, 50.0)]

    assert rates == sorted(set(rates))
    wide = resolve({"epochs": 10.0, "preset": "large"}, FACTS)[0].dropout
    assert wide > resolve({"epochs": 10.0, "preset": "medium"}, FACTS)[0].dropout


def test_of_a_longer_text_less_is_dropped() -> None:
    """As many passes, but less that could be learnt by heart."""
    rates = [
        resolve({"epochs": 6.0}, Facts(tokens, 66))[0].dropout for tokens in (10**6, 3 * 10**6)
    ]

    assert rates[0] > rates[1] == 0


def test_many_passes_average_the_weights_and_keep_the_rates_high() -> None:
    """The line says so; without the average the rates sink as ever."""
    many, why = resolve({"epochs": 50.0}, FACTS)
    few, said = resolve({"epochs": 4.0}, FACTS)
    alone, _ = resolve({"epochs": 50.0, "average": False}, FACTS)

    assert many.average
    assert many.final_lr_frac > few.final_lr_frac
    assert why.endswith("weight averaging")
    assert not few.average
    assert "averaged" not in said
    assert (alone.average, alone.final_lr_frac) == (False, few.final_lr_frac)


def test_a_large_vocabulary_has_its_loss_sampled() -> None:
    """Words and hanzi do, letters do not."""
    sampled = [
        resolve({}, Facts(10**6, size))[0].sampled_softmax for size in (66, 1_000, 5_000, 40_000)
    ]

    assert sampled == [0, 0, 1024, 5000]


def test_a_small_text_gets_a_batch_and_windows_that_fit() -> None:
    """Even ten tokens make a step; many small texts make several steps an epoch."""
    config, _ = resolve({}, Facts(10, 5))
    assert config.bptt * config.batch_size <= 9

    config, _ = resolve({}, Facts(5_000, 60))
    assert 5_000 // (config.bptt * config.batch_size) >= 3


def test_tying_makes_the_embedding_as_wide_as_the_layer() -> None:
    """Unless both widths are given, and then they must agree."""
    config, _ = resolve({"tie_weights": True, "hidden_size": 99}, FACTS)

    assert config.embedding_dim == 99


def test_fine_tuning_starts_at_a_lower_learning_rate() -> None:
    """The line names the model that the weights come from; rates that are given stay."""
    new, _ = resolve({}, FACTS)
    facts = dataclasses.replace(FACTS, init_from="base")
    tuned, why = resolve({}, facts)
    given, _ = resolve({"lr": 0.1}, facts)

    assert tuned.lr < new.lr
    assert tuned.matrix_lr < new.matrix_lr
    assert "LSTM 1×512 with the weights of base" in why
    assert given.lr == 0.1


def test_a_budget_of_null_is_none() -> None:
    """A settings file may name all three budgets: the preset then sets the epochs."""
    config, _ = resolve({"epochs": None, "steps": None, "minutes": None}, FACTS)

    assert config.epochs == PRESETS["medium"].epochs


def test_tied_weights_of_other_widths_are_refused() -> None:
    """Before anything is built, as what the user asked for and not as a mistake of charnn."""
    with pytest.raises(UsageError, match="not 64 and 128"):
        resolve({"tie_weights": True, "embedding_dim": 64, "hidden_size": 128}, Facts(10**6, 65))


def test_fields_that_a_preset_sets_are_marked() -> None:
    """Any other default in `charnn train --help` is what a bare `charnn train` takes."""
    for facts in (Facts(500, 30), Facts(10**5, 60), Facts(10**6, 65), Facts(10**6, 50_000)):
        for budget in ({"epochs": 1.0}, {"epochs": 60.0}, {"minutes": 1.0}):
            config, _ = resolve(budget, facts)
            for name, value in config.model_dump(exclude={"data", "preset", *BUDGETS}).items():
                field = TrainConfig.model_fields[name]
                assert value == field.default or field.json_schema_extra["by_preset"], name


def test_sgd_has_a_rate_of_its_own() -> None:
    """Hundreds of times that of the others, which size each weight's step themselves."""
    assert resolve({"optimizer": "sgd"}, FACTS)[0].lr == SGD_LR
    assert resolve({"optimizer": "sgd", "lr": 0.5}, FACTS)[0].lr == 0.5
