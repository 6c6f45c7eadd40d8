"""Rows B, C and D with random input: mutated files and arbitrary values are read or refused.

`make fuzz` runs for an hour with other seeds; see fuzz.py.
"""

import contextlib
import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.config import TrainConfig
from charnn.errors import CharnnError
from charnn.storage.jsonio import parse_json_object, to_json
from charnn.storage.settings_file import read_settings
from charnn.tokenizers.tokenizer_json import load_tokenizer
from charnn.training.snapshot import FORMAT_VERSION, parse_header
from tests.reliability.fuzz import NAMES, Targets, finding, mutated, mutated_json

INPUTS = 25  # of each kind
HEADER = {
    "format_version": FORMAT_VERSION,
    "torch": "2.13.0",
    "fingerprint": "f" * 64,
    "model": {},
    "settings": {},
    "counters": {"step": 6, "tokens": 60, "seconds": 0.5},
    "epoch": 0,
    "batch": 6,
    "steps": 30,
    "validation_fraction": 1.0,
    "average_updates": 0,
    "scaler": {},
}
QUICK = settings(max_examples=60, deadline=None)
YAML = "lr: \n#-?[]{}&*!|>'\"%@`0e.\t~"
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def targets(tmp_path_factory) -> Targets:
    """Return valid files of every kind."""
    return Targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", NAMES)
def test_c9_mutated_files_are_read_or_refused(targets, name) -> None:
    """With an error meant for the user, in time, without a warning."""
    for number in range(INPUTS):
        found = finding(getattr(targets, name), random.Random(f"test:{name}:{number}"))
        assert found is None, found


def test_c9_the_fuzzer_reports_findings() -> None:
    """Any other exception, a warning, and a timeout are findings."""

    def wrong(_):
        raise KeyError("not ours")

    def refused(_):
        raise CharnnError("ours")

    assert "KeyError" in (finding(wrong, random.Random(1)) or "")
    assert finding(refused, random.Random(1)) is None
    data = b'{"a": [1, 2, {"b": "c"}]}'
    assert len({mutated(data, random.Random(seed)) for seed in range(50)}) > 40
    changed = {to_json(mutated_json(json.loads(data), random.Random(s))) for s in range(50)}
    assert len(changed) > 20


@QUICK
@given(VALUES)
def test_c9_arbitrary_json_is_refused_as_a_tokenizer(value) -> None:
    """For any shape of the value."""
    with pytest.raises(CharnnError):
        load_tokenizer(json.dumps(value))
    with pytest.raises(CharnnError):
        load_tokenizer(json.dumps({"pre_tokenizer": value, "model": value}))


@QUICK
@given(st.dictionaries(st.sampled_from(sorted(HEADER)), VALUES))
def test_c1_arbitrary_json_in_a_checkpoint_header_is_parsed_or_refused(values) -> None:
    """As a whole."""
    assert parse_header(HEADER, "state.json").counters.step == 6
    with contextlib.suppress(CharnnError):
        assert parse_header({**HEADER, **values}, "state.json").format_version == FORMAT_VERSION


@QUICK
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_c3_arbitrary_bytes_are_parsed_as_json_or_refused(data) -> None:
    """An object, or an error meant for the user."""
    with contextlib.suppress(CharnnError):
        assert isinstance(parse_json_object(data, "x"), dict)


@QUICK
@given(st.text(max_size=80) | st.lists(st.sampled_from(YAML)).map("".join))
def test_b3_arbitrary_text_is_parsed_as_settings_or_refused(text) -> None:
    """Known keys with valid values, or an error meant for the user."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(CharnnError):
            assert read_settings(path, TrainConfig).keys() <= TrainConfig.model_fields.keys()
