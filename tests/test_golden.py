"""Golden values: results that a refactoring must not change, on any processor.

tests/golden.py produces and records them, and says when recording them again is right. Files and
sampled text are compared exactly, losses of float32 training to 1e-4. Muon computes its updates in
bfloat16, whose rounding depends on the processor: 2e-4 was measured between AVX-512 and SSE.
"""

import json
from pathlib import Path

import pytest

from tests import golden

EXPECTED = json.loads(golden.GOLDEN.read_text("utf-8"))
TOLERANCE = 1e-4  # nats
MUON_TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder for the datasets and runs of all tests, with the text as a char dataset."""
    folder = tmp_path_factory.mktemp("golden")
    golden.prepare("char", folder)
    return folder


def test_golden_values_are_complete() -> None:
    """golden.json has exactly the results that tests/golden.py produces."""
    assert {part: list(values) for part, values in EXPECTED.items()} == {
        "prepare": list(golden.TOKENIZERS),
        "train": list(golden.RUNS),
        "sample": list(golden.CELLS),
    }


@pytest.mark.parametrize("tokenizer", golden.TOKENIZERS)
def test_prepared_files_are_unchanged(tokenizer, tmp_path) -> None:
    """The token ids of each split and the tokenizer are byte-identical."""
    assert golden.prepare(tokenizer, tmp_path) == EXPECTED["prepare"][tokenizer]


@pytest.mark.parametrize("run", golden.RUNS)
def test_losses_are_unchanged(run, folder) -> None:
    """Training and validation losses of 30 steps."""
    tolerance = MUON_TOLERANCE if run.endswith("muon") else TOLERANCE

    assert golden.train(run, folder) == {
        split: pytest.approx(losses, abs=tolerance)
        for split, losses in EXPECTED["train"][run].items()
    }


@pytest.mark.parametrize("cell", golden.CELLS)
def test_sampled_text_is_unchanged(cell) -> None:
    """Every token sampled in NumPy, with and without filters."""
    assert golden.sample(cell) == EXPECTED["sample"][cell]
