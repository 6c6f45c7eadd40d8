"""Checkpoints: the newest complete one is read, and damage is detected."""

import json

import pytest

from charnn.errors import DataError
from charnn.storage.workspace import checkpoint_folders
from charnn.training.checkpoint import (
    KEEP,
    MANIFEST_FILE,
    STATE_FILE,
    TENSORS_FILE,
    load_newest,
    save_checkpoint,
)
from charnn.training.snapshot import capture
from tests.training.test_snapshot import FINGERPRINT, run_to, start


def test_only_the_newest_checkpoints_are_kept(make_model, ids, tmp_path) -> None:
    """Older ones are deleted after a newer one is complete."""
    training = start(make_model, ids)
    for step in (1, 2, 3):
        run_to(training, step)
        save_checkpoint(capture(training, FINGERPRINT), tmp_path)

    names = [folder.name for folder in checkpoint_folders(tmp_path)]
    assert names == ["step-00000002", "step-00000003"]
    assert len(names) == KEEP


@pytest.mark.parametrize("name", [TENSORS_FILE, STATE_FILE, MANIFEST_FILE])
@pytest.mark.parametrize("size", [0, 1, 8, 100, -1])
def test_truncated_checkpoint_falls_back_to_the_previous_one(
    make_model, ids, tmp_path, name, size
) -> None:
    """Whichever file is truncated, at any length; the error is returned."""
    training = start(make_model, ids)
    for step in (1, 2):
        run_to(training, step)
        save_checkpoint(capture(training, FINGERPRINT), tmp_path)
    victim = checkpoint_folders(tmp_path)[-1] / name
    victim.write_bytes(victim.read_bytes()[:size])

    checkpoint, faults = load_newest(tmp_path)
    assert checkpoint.header.counters.step == 1
    assert len(faults) == 1


def test_flipped_bit_is_a_data_error(make_model, ids, tmp_path) -> None:
    """A single damaged checkpoint cannot be resumed."""
    training = start(make_model, ids)
    run_to(training, 1)
    folder = save_checkpoint(capture(training, FINGERPRINT), tmp_path)
    data = bytearray((folder / TENSORS_FILE).read_bytes())
    data[-5] ^= 1
    (folder / TENSORS_FILE).write_bytes(data)

    with pytest.raises(DataError, match="does not match its manifest"):
        load_newest(tmp_path)


def test_checkpoint_has_no_pickle(make_model, ids, tmp_path) -> None:
    """The files are JSON and safetensors."""
    training = start(make_model, ids)
    run_to(training, 1)
    folder = save_checkpoint(capture(training, FINGERPRINT), tmp_path)

    assert sorted(p.name for p in folder.iterdir()) == [MANIFEST_FILE, STATE_FILE, TENSORS_FILE]
    assert json.loads((folder / STATE_FILE).read_text())["counters"]["step"] == 1
    assert not (folder / TENSORS_FILE).read_bytes().startswith((b"PK", b"\x80"))
