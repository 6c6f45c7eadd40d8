"""YAML files of settings: numbers, words, round trip, invalid and hostile files."""

import time

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from charnn.config import TrainConfig
from charnn.errors import UsageError
from charnn.storage.settings_file import dump_settings, read_settings


def read(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_settings(path, TrainConfig)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("2e-5", 2e-5), ("0.5", 0.5), (".5", 0.5), ("1", 1), ("1.", 1.0), ("+3", 3)],
)
def test_b1_numbers_are_parsed_as_numbers(tmp_path, text, value) -> None:
    """1e-3 is a float, although it is a string in YAML 1.1."""
    assert read(tmp_path, f"lr: {text}\n") == {"lr": value}


def test_no_is_a_string_and_017_is_decimal(tmp_path) -> None:
    """true is a boolean and null is None, as in YAML 1.2."""
    values = read(tmp_path, "data: no\nseed: 017\ntie_weights: true\nsteps: null\n")

    assert values == {"data": "no", "seed": 17, "tie_weights": True, "steps": None}


@given(
    st.builds(
        TrainConfig,
        lr=st.floats(1e-6, 10),
        hidden_size=st.integers(1, 4096),
        dropout=st.floats(0, 0.9),
        steps=st.none() | st.integers(1, 10**9),
        data=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    )
)
@example(TrainConfig(steps=1, data="\x85"))
@example(TrainConfig(steps=1, data="a\u2028b\n"))
def test_dumped_settings_are_read_back_unchanged(tmp_path_factory, config) -> None:
    """Every value is the same after writing and reading a file."""
    path = tmp_path_factory.mktemp("yaml") / "c.yaml"
    path.write_text(dump_settings(config), encoding="utf-8")

    assert TrainConfig(**read_settings(path, TrainConfig)) == config


BAD = {
    "unknown key": ("dropuot: 0.1", "dropuot"),
    "section": ("model:\n  cell: lstm", "model"),
    "section as a value": ("lr:\n  a: 1", "single value"),
    "duplicate key": ("lr: 1.0\nlr: 2.0", "twice"),
    "two documents": ("lr: 1.0\n---\nlr: 2.0", "second document"),
    "list": ("- lr", "no settings"),
    "scalar": ("lr", "no settings"),
    "empty": ("", "no settings"),
    "tabs": ("lr: 1.0\n\tseed: 1", "line 2"),
    "latin-1": (b"data: caf\xe9", "not UTF-8"),
    "python tag": ("lr: !!python/object/apply:os.system ['touch marker']", "tags"),
    "python name": ("!!python/name:os.system lr: 1", "tags"),
    "self reference": ("lr: &a [*a]", "anchors"),
    "billion laughs": ("a: &a [x,x]\nb: &b [*a,*a]\nlr: *b", "anchors"),
    "deep nesting": ("lr: " + "[" * 2000, "nested too deeply"),
    "huge": ("# " + "x" * 2_000_000, "larger than"),
    "nan": ("lr: .nan", "lr"),
    "infinity": ("lr: .inf", "lr"),
    "negative": ("lr: -1.0", "lr"),
    "enormous": ("hidden_size: 1" + "0" * 30, "hidden_size"),
    "two budgets": ("steps: 2\nepochs: 1", "give only one of epochs, steps, minutes"),
    "true for a number": ("hidden_size: true", "hidden_size"),
    "fraction for an integer": ("num_layers: 50.5", "num_layers"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_b3_b4_b5_invalid_file_is_a_usage_error(tmp_path, monkeypatch, text, message) -> None:
    """It names the file and the problem within a second, and no code is executed."""
    monkeypatch.chdir(tmp_path)
    begin = time.perf_counter()
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)

    assert "c.yaml" in caught.value.message
    assert message in caught.value.message
    assert time.perf_counter() - begin < 1
    assert not (tmp_path / "marker").exists()


def test_byte_order_mark_is_ignored(tmp_path) -> None:
    """It is not part of the first key."""
    assert read(tmp_path, "\ufefflr: 1.0\n") == {"lr": 1.0}


def test_dumped_settings_are_standard_yaml(tmp_path) -> None:
    """PyYAML's own loader returns the same mapping."""
    assert yaml.safe_load(dump_settings(TrainConfig(lr=0.5)))["lr"] == 0.5
