"""`charnn eval`: which datasets it opens."""

import pytest

from charnn import cli


@pytest.mark.parametrize("files", [[], ["lines.txt"]], ids=str)
def test_dataset_is_opened_once(files, opened) -> None:
    """Opening a dataset reads and hashes its files."""
    assert cli.main(["eval", "m.safetensors", *files, "--dynamic", "-q"]) == 0
    assert opened == ["lamp"]


def test_dataset_is_not_opened_for_a_file(opened) -> None:
    """Evaluating a file does not need the dataset."""
    assert cli.main(["eval", "m.safetensors", "lines.txt", "-q"]) == 0
    assert opened == []


def test_empty_and_skipped_files_are_named(opened, tmp_path, capfd) -> None:
    """An empty file adds nothing to the text; alone it is no text."""
    (tmp_path / "empty.txt").write_text("")
    assert cli.main(["eval", "-m", "m.safetensors", "lines.txt", "empty.txt"]) == 0
    assert "empty: empty.txt\n" in capfd.readouterr().err

    assert cli.main(["eval", "-m", "m.safetensors", "empty.txt"]) == 65
    assert "error: empty.txt: empty\n" in capfd.readouterr().err
