"""Rows D of the table of faults: kills, full or failing disks, missing folders."""

import errno
import fcntl
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from charnn.config import TrainConfig
from charnn.data.dataset import open_dataset
from charnn.data.splits import split_text
from charnn.errors import StorageError
from charnn.model.model_file import read_model
from charnn.storage import atomic
from charnn.storage.settings_file import read_settings
from charnn.storage.workspace import checkpoint_folders
from charnn.training.checkpoint import KEEP, load_newest, save_checkpoint
from charnn.training.events import Noted, Warned
from charnn.training.metrics_log import METRICS_FILE
from charnn.training.presets import PRESETS
from charnn.training.snapshot import capture
from charnn.training.trainer import SAVE_SECONDS
from tests.reliability.conftest import logged_events
from tests.reliability.faults import CALLS, MODES, exit_codes
from tests.shell.conftest import LAMP
from tests.tiny import written_dataset

KILLED = -signal.SIGKILL


@pytest.fixture
def at_three(new_trainer):
    """Return a trainer at step 3 with checkpoints of steps 1 and 2, but no model yet."""
    trainer = new_trainer(eval_every=100)
    for step, _ in enumerate(itertools.islice(logged_events(trainer), 3), 1):
        if step < 3:
            state = trainer._capture()
            trainer.folder.save(state, state)
    return trainer


def everything(folder):
    """Return the contents of all files in a folder, by relative path."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def fault_loop(trainer, again, mode, steps=(2, 3)):
    """Check the run after each fault of a save, then save again; return the exit codes.

    `steps` are the steps that the newest checkpoint may have.
    """
    folder, spare = trainer.folder.path, trainer.folder.path.with_name("spare")
    shutil.copytree(folder, spare)
    resumed, codes = again(create=False), []
    for code in exit_codes(trainer.save, mode):
        codes.append(code)
        state, faults = load_newest(folder)
        assert not faults
        assert state.header.counters.step in ((3,) if code == 2 else steps), (len(codes), code)
        assert read_settings(folder / "config.yaml", TrainConfig)
        if trainer.folder.model_path.exists():
            assert read_model(trainer.folder.model_path)
        resumed.resume()
        resumed.save()
        assert load_newest(folder)[0].header.counters.step == state.header.counters.step
        assert not [path for path in folder.rglob(".*") if path.name != ".lock"]
        shutil.rmtree(folder)
        shutil.copytree(spare, folder)
    return codes


def test_d1_a_kill_at_any_system_call_of_a_save_leaves_the_old_or_new_state(
    at_three, new_trainer
) -> None:
    """Checkpoint, configuration and model are complete, and the run can be resumed."""
    codes = fault_loop(at_three, new_trainer, "kill")

    assert set(codes) == {KILLED}
    assert len(codes) > 40


def test_d1_a_kill_while_a_checkpoint_is_replaced(at_three, new_trainer) -> None:
    """Saving the same step twice: between the two renames the old checkpoint is not lost."""
    at_three.save()
    codes = fault_loop(at_three, new_trainer, "kill", steps=(3,))

    assert set(codes) == {KILLED}


@pytest.mark.parametrize("mode", ["once", "for good"])
def test_d2_a_full_or_broken_disk_is_74_with_the_run_intact(at_three, new_trainer, mode) -> None:
    """Each open, write, fsync, rename, close … of a save fails, once or from then on."""
    codes = fault_loop(at_three, new_trainer, mode)

    assert set(codes) <= {74, 2}  # 2: only the removal of an old checkpoint failed
    assert codes.count(74) > 25


def test_d3_short_writes_are_continued(at_three, new_trainer) -> None:
    """If a write is partial, the rest is written by further calls."""
    assert "short" in MODES
    codes = fault_loop(at_three, new_trainer, "short")

    assert set(codes) == {2}


@pytest.mark.parametrize("mode", MODES)
def test_d2_after_any_fault_a_dataset_is_the_old_or_the_new_one(tmp_path, mode) -> None:
    """`prepare --force` with an existing dataset."""
    folder = tmp_path / "data" / "lamp"

    def write(text):
        written_dataset(folder, split_text(text, 0.1, 0), replace=True)

    write(LAMP)
    old = open_dataset(folder).fingerprint
    write(LAMP * 2)
    new = open_dataset(folder).fingerprint
    write(LAMP)
    before = everything(folder)
    for code in exit_codes(lambda: write(LAMP * 2), mode):
        assert code in (74, 2, KILLED)
        atomic.clean_up(folder.parent, folder.name)
        found = open_dataset(folder).fingerprint
        assert found in ((new,) if code == 2 else (old, new))
        assert [path.name for path in folder.parent.iterdir()] == ["lamp"]
        write(LAMP)
        assert everything(folder) == before


def test_d4_a_log_that_cannot_be_written_does_not_stop_training(new_trainer) -> None:
    """One warning; the run finishes, and everything else is written."""
    trainer = new_trainer(steps=25)
    (trainer.folder.path / METRICS_FILE).symlink_to("/dev/full")
    warnings = [event for event in trainer.events() if isinstance(event, Warned)]

    assert [warning.message for warning in warnings] == [
        "cannot write metrics.jsonl: No space left on device; training continues"
    ]
    assert trainer.loop.counters.step == 25
    assert read_model(trainer.folder.model_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs limits on the size of files")
def test_d4_a_disk_that_fills_during_training_is_74_and_the_run_can_be_resumed(trained) -> None:
    """With files limited to one kilobyte, the save fails and the previous checkpoint remains."""
    run = trained.folder / "runs" / "lamp-lstm-001"
    before = everything(run / "checkpoints")
    script = (
        "import resource, signal, sys; from charnn import cli\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "sys.exit(cli.main(['train', '--resume', 'lamp-lstm-001', '--steps', '9', '-q']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=trained.folder, capture_output=True, encoding="utf-8"
    )

    assert done.returncode == 74
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert everything(run / "checkpoints") == before
    trained.run("train", "--resume", "lamp-lstm-001", "--steps", "9", "-q")


@pytest.mark.parametrize("command", ["prepare", "train", "resume"])
def test_d5_unwritable_folders_are_detected_before_the_first_step(
    trained, command, monkeypatch
) -> None:
    """A file with the name of the folder, or a read-only disk: 74 with the path."""
    from charnn.training.loop import TrainLoop

    monkeypatch.setattr(TrainLoop, "update", None)  # a step would fail
    monkeypatch.setattr("charnn.data.prepare.prepare", None)
    trained.write("file", "")
    if command == "prepare":
        trained.refused("prepare", "lamp.txt", "--data-dir", "file", code=74, said="file")
        trained.refused("prepare", "lamp.txt", "--data-dir", "file/x", code=74, said="file")
    elif command == "train":
        tiny = ("--steps", "1", "--preset", "tiny", "--precision", "float32", "-q")
        trained.refused("train", *tiny, "--runs-dir", "file", code=74, said="file")
        trained.write("runs/taken", "")
        trained.refused("train", *tiny, "--name", "taken", code=74, said="taken")
        assert not (trained.folder / "runs/lamp-lstm-002").exists()
    else:
        # The shared lock of the dataset has no effect where its folder is not writable.
        read_only = _raise(OSError(errno.EROFS, os.strerror(errno.EROFS)))
        monkeypatch.setattr(
            "charnn.storage.lock._flock", lambda _, shared=False: None if shared else read_only()
        )
        said = ("Read-only file system", "lamp-lstm-001")
        trained.refused("train", "--resume", "lamp-lstm-001", "--steps", "9", code=74, said=said)


def _raise(error):
    def call(*_, **__):
        raise error

    return call


@pytest.mark.parametrize("gone", ["removed", "renamed"])
def test_d6_a_removed_run_folder_is_74_at_the_next_save(new_trainer, gone) -> None:
    """The folder is not created again, and a renamed one is not modified."""
    trainer = new_trainer()
    for _ in itertools.islice(logged_events(trainer), 3):
        pass
    trainer.save()
    folder = trainer.folder.path
    if gone == "removed":
        shutil.rmtree(folder)
    else:
        folder.rename(folder.with_name("elsewhere"))

    with pytest.raises(StorageError, match="run"):
        trainer.save()
    assert not folder.exists()


def test_d5_a_folder_as_target_of_save_state_is_detected_before_sampling(trained) -> None:
    """74 before any text is generated."""
    trained.refused("sample", "--save-state", "runs", code=74, said=("runs", "it is a folder"))


def test_d7_tmpdir_is_not_used(trained, monkeypatch) -> None:
    """TMPDIR may be missing: temporary files are in the folder of their target."""
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(trained.folder / "missing"))
        trained.run("prepare", "lamp.txt", "--name", "again", "-q")
        trained.run("train", "--resume", "lamp-lstm-001", "--steps", "7", "-q")


def test_d8_a_failed_save_keeps_the_last_good_checkpoint(at_three, monkeypatch) -> None:
    """Older ones are removed only after the new one is complete."""
    folder = at_three.folder.path
    before = everything(folder / "checkpoints")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _raise(OSError(errno.EIO, os.strerror(errno.EIO))))
        with pytest.raises(StorageError, match="good-00000000"):
            at_three.save()

    assert everything(folder / "checkpoints") == before
    assert len(checkpoint_folders(folder)) == KEEP


def test_d8_a_damaged_newer_checkpoint_does_not_replace_a_good_one(at_three, new_trainer) -> None:
    """After falling back to an earlier one, the damaged ones are removed, not the new one."""
    folder = at_three.folder.path
    for path in checkpoint_folders(folder)[1:]:
        (path / "state.json").write_bytes(b"{")
    for number in (8, 9):
        shutil.copytree(
            checkpoint_folders(folder)[-1], folder / f"checkpoints/step-0000000{number}"
        )
    resumed = new_trainer(create=False, eval_every=100)
    resumed.resume()
    assert resumed.loop.counters.step == 1
    events = resumed.events()
    notes = [event for event in itertools.islice(events, 4) if isinstance(event, Noted)]
    assert len(notes) == 4  # the run and its step, and each damaged checkpoint
    next(events)
    resumed.save()

    names = [path.name for path in checkpoint_folders(folder)]
    assert names == ["step-00000001", "step-00000002"]
    assert load_newest(folder)[0].header.counters.step == 2


def test_d9_temporary_files_of_a_crash_are_ignored_and_removed(trained) -> None:
    """The next writer removes them; readers ignore them."""
    run = trained.folder / "runs" / "lamp-lstm-001"
    for name in (".tmp-step-00000099-abc", ".tmp-step-00000006-1"):
        shutil.copytree(run / "checkpoints/step-00000006", run / "checkpoints" / name)
    (run / ".tmp-model.safetensors-77").write_bytes(b"half")
    (trained.folder / "data/.tmp-lamp-xyz").mkdir()
    (trained.folder / "runs/.tmp-other-1").mkdir()
    trained.run("sample", "-n", "5", "-q")
    trained.run("info", "lamp-lstm-001")
    trained.run("train", "--resume", "lamp-lstm-001", "--steps", "7", "-q")
    trained.run("prepare", "lamp.txt", "--force", "--tokenizer", "byte", "-q")

    left = [path.name for path in trained.folder.rglob(".tmp-*")]
    assert left == [".tmp-other-1"]  # of another run, which nothing has written since


def test_d9_a_temporary_file_of_a_process_with_the_same_id_is_replaced(tmp_path) -> None:
    """Process ids repeat, most of all in containers."""
    (tmp_path / f".tmp-a.bin-{os.getpid()}").write_bytes(b"half")
    atomic.write_file(tmp_path / "a.bin", b"whole")

    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_d9_only_temporary_files_of_the_same_name_are_removed(tmp_path) -> None:
    """Files of similar or special names are kept."""
    kept = ["x", ".tmp-x-y-abcdefgh", ".tmp-xy-abcdefgh", ".old-x-y", ".tmp-[x]-abcdefgh"]
    for name in (*kept, ".tmp-x-abc_efgh", ".old-x"):
        (tmp_path / name).mkdir()
    atomic.clean_up(tmp_path, "x")
    atomic.clean_up(tmp_path, "*")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)

    atomic.clean_up(tmp_path, "[x]")
    atomic.clean_up(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x-y"]
    atomic.clean_up(tmp_path / "missing")


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOTSUP, errno.ENOLCK], ids=str)
def test_d7_a_file_system_without_sync_or_locks_works(trained, monkeypatch, error) -> None:
    """Folders that cannot be synced or locked are accepted."""
    refuse = _raise(OSError(error, os.strerror(error)))
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: refuse() if stat.S_ISDIR(os.fstat(fd).st_mode) else sync(fd)
    )
    monkeypatch.setattr(fcntl, "flock", refuse)

    trained.run("prepare", "lamp.txt", "--name", "again", "-q")
    trained.run("train", "--resume", "lamp-lstm-001", "--steps", "7", "-q")


@pytest.mark.slow
def test_saving_takes_less_than_1_percent_of_the_time(new_trainer) -> None:
    """At the default interval, for the largest preset."""
    large = PRESETS["large"]
    sizes = {"hidden_size": large.hidden_size, "embedding_dim": large.embedding_dim}
    trainer = new_trainer(**sizes, batch_size=8, steps=3)
    for _ in trainer.events():
        pass
    begin = time.perf_counter()
    trainer.save()

    assert time.perf_counter() - begin < SAVE_SECONDS / 100


def test_d10_a_damaged_log_is_truncated_and_continued(trained) -> None:
    """Incomplete lines, zeros after a power failure and rows newer than the checkpoint are cut."""
    log = trained.folder / "runs/lamp-lstm-001" / METRICS_FILE
    good = b"".join(log.read_bytes().splitlines(keepends=True)[:-1])  # without the final row
    log.write_bytes(good)
    ahead = json.dumps({"split": "train", "step": 99, "loss": 1.0}).encode()
    log.write_bytes(good + ahead + b'\n{"split": []}\n\0\0\0\n[1]\n{"step":"7"}\n{"split":"tr')
    trained.run("train", "--resume", "lamp-lstm-001", "--steps", "20", "-q")
    rows = [json.loads(line) for line in log.read_bytes().splitlines()]

    assert log.read_bytes().startswith(good)
    *rows, final = rows
    for split in ("train", "val"):
        steps = [row["step"] for row in rows if row["split"] == split]
        assert steps == sorted(set(steps))
        assert steps[-1] == 20
    assert final["final"]


def test_d11_files_are_synced_before_they_are_renamed(at_three, monkeypatch) -> None:
    """Each file after its last write, the folder before its rename, the parent folder after it."""
    calls = recorded(monkeypatch)
    save_checkpoint(capture(at_three.loop, "f"), at_three.folder.path)
    renamed = next(i for i, (name, _) in enumerate(calls) if name == "rename")
    written = [path for name, path in calls[:renamed] if name == "write"]
    (temporary,) = {path.parent for path in written}

    assert {path.name for path in written} == {
        *("state.safetensors", "state.json", "manifest.json"),
    }
    assert written[-1].name == "manifest.json"
    for path in written:
        assert ("fsync", path) in calls[calls.index(("write", path)) : renamed]
    assert ("fsync", temporary) in calls[:renamed]
    assert calls[renamed] == ("rename", temporary)
    assert ("fsync", temporary.parent) in calls[renamed:]


def recorded(monkeypatch):
    """Return a list that records the system calls from now on, each with its path."""
    calls, paths = [], {}
    real = {name: getattr(os, name) for name in CALLS}

    def open_(path, *arguments, **options):
        descriptor = real["open"](path, *arguments, **options)
        paths[descriptor] = Path(path)
        return descriptor

    def on_descriptor(name):
        def call(descriptor, *arguments):
            calls.append((name, paths.get(descriptor)))
            return real[name](descriptor, *arguments)

        return call

    def rename(source, target, **options):
        calls.append(("rename", Path(source)))
        return real["rename"](source, target, **options)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "rename", rename)
    for name in ("write", "fsync"):
        monkeypatch.setattr(os, name, on_descriptor(name))
    return calls
