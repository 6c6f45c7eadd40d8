"""`charnn score`: datasets that it opens. What it prints is tested in tests/shell."""

from charnn import cli


def test_the_dataset_is_opened_once(opened) -> None:
    """Reading and hashing it takes time."""
    assert cli.main(["score", "m.safetensors", "lines.txt", "--adapt", "--overlap", "-q"]) == 0
    assert opened == ["lamp"]


def test_a_dataset_that_is_not_needed_is_not_opened(opened) -> None:
    """A text is scored without it."""
    assert cli.main(["score", "m.safetensors", "lines.txt", "-q"]) == 0
    assert opened == []
