"""Rows H of the table of faults: concurrent processes do not interfere."""

import os
import signal
import warnings

import pytest

from charnn.errors import BusyError
from charnn.model.model_file import model_bytes, read_model, write_model
from charnn.storage.lock import Lock

RUN = "lamp-lstm-001"


def in_child(work):
    """Run `work` in a forked child and return its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has threads; the child does not use them
        child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


@pytest.mark.parametrize("rank", ["0", "1"])
def test_h1_one_rank_of_several_exits_at_once(trained, monkeypatch, rank) -> None:
    """2 with the rank: charnn trains in one process, so none can wait for a failed rank."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    before = sorted(trained.folder.rglob("*"))
    trained.refused("train", "--steps", "7", code=2, said=(f"rank {rank} of 2", "torchrun"))

    assert sorted(trained.folder.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments", [("--resume", RUN), ("--name", RUN), ("--name", RUN, "--force")], ids=str
)
def test_h3_a_second_train_of_a_run_is_75_with_the_process_id(trained, arguments) -> None:
    """With --resume, with its name and with --force; nothing is changed."""
    folder = trained.folder / "runs" / RUN
    before = sorted(folder.rglob("*"))
    with Lock(folder):
        trained.refused(
            "train", *arguments, "--steps", "7", code=75, said=(f"process {os.getpid()} on", RUN)
        )

    assert sorted(folder.rglob("*")) == before


def test_h3_force_replaces_a_run_and_nothing_else(trained) -> None:
    """If the folder has a file that charnn did not write, nothing is removed: 74 with its name."""
    folder = trained.folder / "runs" / RUN
    notes = trained.write(f"runs/{RUN}/notes.txt", "mine")
    before = sorted(folder.rglob("*"))
    tiny = ("train", "--name", RUN, "--force", "--steps", "1", "--hidden-size", "4", "-q")
    trained.refused(*tiny, code=74, said="notes.txt")
    assert sorted(folder.rglob("*")) == before

    notes.unlink()
    trained.run(*tiny)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000001"]


def test_h3_the_lock_of_a_killed_process_is_released(trained) -> None:
    """The lock file still exists, but no process holds it."""
    folder = trained.folder / "runs" / RUN

    def hold():
        with Lock(folder):
            os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_child(hold), 0)
    assert (folder / ".lock").exists()
    trained.run("train", "--resume", RUN, "--steps", "7", "-q")
    assert not (folder / ".lock").exists()


def test_h4_a_reader_sees_the_old_or_the_new_model(trained) -> None:
    """While another process replaces the file as fast as it can."""
    path = trained.folder / "runs" / RUN / "model.safetensors"
    one = read_model(path)
    other = type(one)(**{**vars(one), "tensors": {n: t * 2 for n, t in one.tensors.items()}})

    def alternate():
        while True:
            write_model(path, other)
            write_model(path, one)

    sizes = {len(model_bytes(model)) for model in (one, other)}
    writer = in_child(alternate)
    try:
        read = {read_model(path).sha256 for _ in range(200)}
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)

    assert len(read) == 2
    assert path.stat().st_size in sizes
    trained.run("sample", "-n", "5", "-q")


def test_h5_two_prepares_of_one_dataset(trained) -> None:
    """The second is 75; another name is free."""
    with Lock(trained.folder / "data", "lamp"):
        trained.refused(
            "prepare", "lamp.txt", "--force", code=75, said=(f"process {os.getpid()}", "lamp")
        )
        trained.run("prepare", "lamp.txt", "--name", "other", "-q")
    trained.run("prepare", "lamp.txt", "--force", "-q")

    assert trained.datasets() == ["lamp", "other"]


def test_h5_a_dataset_that_a_training_reads_is_not_replaced(trained) -> None:
    """75 with the process id. Other runs can read it too; after the last one it can be replaced."""
    with Lock(trained.folder / "data", "lamp", shared=True):
        again = ("prepare", "lamp.txt", "--newlines", "lf")
        trained.refused(*again, "--force", code=75, said=(f"process {os.getpid()}", "lamp"))
        trained.run("train", "lamp", "--steps", "1", "--hidden-size", "4", "-q")
    trained.run(*again, "--force", "-q")


def test_h5_a_lock_is_released_after_an_error(tmp_path) -> None:
    """For any exception in the block."""
    with pytest.raises(ZeroDivisionError), Lock(tmp_path):
        _ = 1 / 0
    with Lock(tmp_path), pytest.raises(BusyError), Lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
