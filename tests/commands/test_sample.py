"""`charnn sample`: datasets that it opens. What it prints is tested in tests/shell."""

from charnn import cli


def test_the_dataset_is_opened_once(opened) -> None:
    """Reading and hashing it takes time."""
    assert cli.main(["sample", "m.safetensors", "-n", "5", "--novel", "3", "-q"]) == 0
    assert opened == ["lamp"]
