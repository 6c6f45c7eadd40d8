"""Settings: ranges, error messages, defaults."""

import math
import re

import pytest

from charnn.config import (
    ModelConfig,
    PrepareConfig,
    SampleConfig,
    Settings,
    TrainConfig,
    validate,
)
from charnn.errors import UsageError

EVERY_KIND = [ModelConfig, TrainConfig, SampleConfig, PrepareConfig]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_field_is_described(kind) -> None:
    """The description is the help text of the option."""
    assert all(field.description for field in kind.model_fields.values())


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_settings_are_closed_strict_and_frozen(kind) -> None:
    """Unknown keys and changes are errors."""
    assert kind.model_config["extra"] == "forbid"
    assert kind.model_config["strict"]
    assert kind.model_config["frozen"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"lr": math.nan}, "--lr is nan: must be a finite number"),
        ({"lr": math.inf}, "--lr is inf: must be a finite number"),
        ({"lr": -1.0}, "--lr is -1: must be greater than 0"),
        ({"lr": 0}, "--lr is 0: must be greater than 0"),
        ({"lr": "1e-3"}, "--lr is '1e-3': must be a number"),
        ({"hidden_size": 0}, "--hidden-size is 0: must be at least 1"),
        ({"hidden_size": 10**30}, f"--hidden-size is {10**30}: must be at most 65536"),
        ({"hidden_size": True}, "--hidden-size is True: must be a whole number"),
        ({"hidden_size": 50.5}, "--hidden-size is 50.5: must be a whole number"),
        ({"dropout": 1.0}, "--dropout is 1: must be less than 1"),
        ({"average": "yes"}, "--average is 'yes': must be true or false"),
        ({"cell": "transformer"}, "--cell is 'transformer': must be lstm, gru or rnn"),
        ({"device": "gpu"}, "--device is 'gpu': must be auto, cpu, cuda, cuda:N or mps"),
        ({"data": 3}, "--data is 3: must be text"),
        ({"epochs": 0}, "--epochs is 0: must be greater than 0"),
        ({"epochs": 1e9}, "--epochs is 1000000000: must be at most 100,000"),
    ],
    ids=str,
)
def test_invalid_value_names_field_value_and_range(values, said) -> None:
    """The message is plain English, not the text of a library."""
    with pytest.raises(UsageError) as caught:
        validate(TrainConfig, values)

    assert caught.value.message == said


def test_a_choice_that_is_nearly_right_is_suggested() -> None:
    """And none if nothing is near."""
    with pytest.raises(UsageError) as caught:
        validate(PrepareConfig, {"tokenizer": "words"})
    assert caught.value.hint == "did you mean word?"
    with pytest.raises(UsageError) as other:
        validate(PrepareConfig, {"tokenizer": "sentence"})
    assert other.value.hint == ""


def test_unknown_key_suggests_a_similar_one() -> None:
    """`dropuot` is similar to `dropout`."""
    with pytest.raises(UsageError) as caught:
        validate(TrainConfig, {"dropuot": 0.1}, "x.yaml")

    assert "x.yaml" in caught.value.message
    assert "dropuot" in caught.value.message
    assert caught.value.hint == "did you mean dropout?"


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (
            TrainConfig,
            {"epochs": 1.0, "steps": 2},
            "give only one of --epochs, --steps, --minutes, not --epochs and --steps",
        ),
        (
            TrainConfig,
            {"minutes": 1.0, "deterministic": True},
            "--deterministic needs --steps or --epochs, not --minutes",
        ),
        (
            ModelConfig,
            {"tie_weights": True, "embedding_dim": 8, "hidden_size": 16, "vocab_size": 3},
            "--tie-weights needs --embedding-dim = --hidden-size, not 8 and 16",
        ),
        (
            PrepareConfig,
            {"val_frac": 0.6, "test_frac": 0.4},
            "--val-frac + --test-frac must be less than 1",
        ),
    ],
    ids=["budgets", "deterministic", "tied", "fractions"],
)
def test_settings_that_exclude_each_other_are_named(kind, values, said) -> None:
    """By their flags, or by their keys in a file."""
    with pytest.raises(UsageError) as caught:
        validate(kind, values)
    assert caught.value.message == said
    with pytest.raises(UsageError) as caught:
        validate(kind, values, "x.yaml")
    keys = re.sub("-([a-z])", r"_\1", said.replace("--", ""))
    assert caught.value.message == f"x.yaml: {keys}"


def test_defaults_are_valid() -> None:
    """The defaults of each kind of settings are in their ranges."""
    for kind in (TrainConfig, SampleConfig, PrepareConfig):
        settings: Settings = kind()
        assert validate(kind, settings.model_dump()) == settings
