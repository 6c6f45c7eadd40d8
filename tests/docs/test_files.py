"""docs/files.md lists every file that charnn writes."""

from pathlib import Path

import pytest

from charnn.cli import main
from docs.generate import files

TEXT = "the quick brown fox jumps over the lazy dog\n" * 60
STOPPED = 130


TABLES = {
    "data/fox": files.DATASET_FILES,
    "runs/r": files.RUN_FILES,
    "runs/r/checkpoints/step-*": files.CHECKPOINT_FILES,
}
LISTED = [f"{folder}/{row.pattern}" for folder, rows in TABLES.items() for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a dataset of three splits, a run with checkpoints, and a state."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("fox.txt").write_text(TEXT, "utf-8")
        assert main(["prepare", "fox.txt", "--test-frac", "0.1", "-q"]) == 0
        train = ["train", "--name", "r", "--preset", "tiny", "--threads", "1", "-q"]
        assert main([*train, "--steps", "12", "--save-every", "4"]) == 0
        assert main(["sample", "r", "-n", "5", "--save-state", "fox.state", "-q"]) == 0
    return folder


def test_a_real_run_creates_no_file_that_is_not_listed(folder) -> None:
    """After `prepare`, `train` with checkpoints, and `sample --save-state`."""
    own = {Path("fox.txt"), Path("fox.state")}
    created = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} - own

    assert [path for path in created if not any(path.match(pattern) for pattern in LISTED)] == []


def test_a_real_run_creates_every_file_that_is_listed(folder) -> None:
    """A file that is no longer written leaves the page."""
    assert [pattern for pattern in LISTED if not list(folder.glob(pattern))] == []


@pytest.mark.parametrize("row", files.RUN_FILES[:2], ids=lambda row: row.pattern)
def test_a_model_works_without_files_that_may_be_deleted(row, folder, tmp_path) -> None:
    """The settings and the metrics of its run."""
    model = tmp_path / "runs" / "r" / "model.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes((folder / "runs" / "r" / model.name).read_bytes())

    assert row.deletable.startswith("Yes")
    assert main(["sample", str(model), "-n", "5", "-q"]) == 0
