"""`charnn sample`: which datasets it opens. Its output is tested in tests/shell."""

from charnn import cli


def test_dataset_is_opened_once(opened) -> None:
    """Opening a dataset reads and hashes its files."""
    assert cli.main(["sample", "m.safetensors", "-n", "5", "--novel", "3", "-q"]) == 0
    assert opened == ["lamp"]
