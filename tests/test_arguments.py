"""Keyword arguments of the Python API: types of settings, errors that name arguments."""

from typing import get_type_hints

import pytest

from charnn.arguments import PrepareSettings, TrainSettings, argument_names
from charnn.config import PrepareConfig, TrainConfig
from charnn.errors import StorageError, UsageError


@pytest.mark.parametrize(
    ("arguments", "kind", "positional"),
    [(PrepareSettings, PrepareConfig, set()), (TrainSettings, TrainConfig, {"data"})],
)
def test_settings_are_the_fields_of_the_configuration(arguments, kind, positional) -> None:
    """With the same names, in the same order, of the same types."""
    fields = {n: f.annotation for n, f in kind.model_fields.items() if n not in positional}

    assert list(get_type_hints(arguments).items()) == list(fields.items())


def test_errors_name_arguments() -> None:
    """Flags that are arguments are renamed, and commands to type are not."""
    with (
        pytest.raises(UsageError, match=r"^top_k is -1, --frobnicate$") as caught,
        argument_names(),
    ):
        raise UsageError("--top-k is -1, --frobnicate", "give another --name, or force it")
    assert caught.value.hint == "give another name, or force it"

    with pytest.raises(StorageError) as other, argument_names():
        raise StorageError("gone", "charnn train --resume x")
    assert other.value.hint == "charnn train --resume x"
