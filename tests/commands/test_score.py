"""`charnn score`: which datasets it opens; very long lines. See also tests/shell/test_score.py."""

import json

import pytest

from charnn import cli
from charnn.commands import score_output
from charnn.evaluation import line_reader


def test_dataset_is_opened_once(opened) -> None:
    """Opening a dataset reads and hashes its files."""
    assert cli.main(["score", "m.safetensors", "lines.txt", "--adapt", "--overlap", "-q"]) == 0
    assert opened == ["lamp"]


def test_dataset_is_not_opened_for_a_file(opened) -> None:
    """Scoring a file does not need the dataset."""
    assert cli.main(["score", "m.safetensors", "lines.txt", "-q"]) == 0
    assert opened == []


@pytest.mark.usefixtures("opened")
def test_very_long_line_is_truncated_in_the_output(tmp_path, monkeypatch, capfdbinary) -> None:
    """The text ends after 1 MiB with an ellipsis, between characters; all of it is scored."""
    assert score_output.LONGEST_TEXT == 1 << 20
    monkeypatch.setattr(score_output, "LONGEST_TEXT", 1 << 10)
    monkeypatch.setattr(line_reader, "LONG_LINE", 300)
    text = "a" + "é" * ((1 << 9) + 1) + "The"
    (tmp_path / "long.txt").write_text(text)
    begun = "a" + "é" * ((1 << 9) - 1) + "…"

    assert cli.main(["score", "m.safetensors", "long.txt", "--json", "-q"]) == 0
    row = json.loads(capfdbinary.readouterr().out)
    assert row["tokens"] + row["unknown"] == len(text)
    assert row["text"] == begun
    assert row["truncated"] is True
    assert cli.main(["score", "m.safetensors", "long.txt", "-q"]) == 0
    assert capfdbinary.readouterr().out.endswith(f"\t{begun}\n".encode())
