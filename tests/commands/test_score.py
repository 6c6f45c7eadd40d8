"""`charnn score`: which datasets it opens. Its output is tested in tests/shell."""

from charnn import cli


def test_dataset_is_opened_once(opened) -> None:
    """Opening a dataset reads and hashes its files."""
    assert cli.main(["score", "m.safetensors", "lines.txt", "--adapt", "--overlap", "-q"]) == 0
    assert opened == ["lamp"]


def test_dataset_is_not_opened_for_a_file(opened) -> None:
    """Scoring a file does not need the dataset."""
    assert cli.main(["score", "m.safetensors", "lines.txt", "-q"]) == 0
    assert opened == []
