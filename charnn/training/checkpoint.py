"""Write and read checkpoints: the training state on disk, for bit-identical resume.

A checkpoint is a folder that is written atomically. Its manifest has the size and SHA-256 of the
other files. Tensors are stored as safetensors, everything else as JSON; pickle is not used.
"""

import dataclasses
from pathlib import Path

from charnn.errors import DataError
from charnn.storage import atomic, jsonio
from charnn.storage.workspace import CHECKPOINTS, checkpoint_folders
from charnn.training.snapshot import Snapshot, parse_header, refuse_diverged

TENSORS_FILE = "state.safetensors"
STATE_FILE = "state.json"
MANIFEST_FILE = "manifest.json"
KEEP = 2  # checkpoints kept: the newest, and one in case it is damaged


def save_checkpoint(snapshot: Snapshot, run: Path, good: Snapshot | None = None) -> Path:
    """Write a snapshot to a checkpoint of `run`; delete all older checkpoints but the newest.

    `good` is an earlier state to roll back to; it is written, too, unless its checkpoint exists.
    Raise StorageError if it cannot be written, DivergedError if a weight is not finite. The older
    checkpoints are then unchanged.
    """
    refuse_diverged(snapshot)
    kept = None
    if good is not None and good.step != snapshot.step:
        kept = _write(good, good_folder(run, good.step))
        snapshot = dataclasses.replace(
            snapshot, header=snapshot.header.model_copy(update={"good_step": good.step})
        )
    folder = _write(snapshot, run / CHECKPOINTS / f"step-{snapshot.step:08d}")
    _remove_others(run, folder, kept)
    return folder


def good_folder(run: Path, step: int) -> Path:
    """Return the folder of the state after a step that a divergence is rolled back to."""
    return run / CHECKPOINTS / f"good-{step:08d}"


def _write(snapshot: Snapshot, folder: Path) -> Path:
    from safetensors.torch import save

    if folder == Path(snapshot.source):
        return folder
    contents = {
        TENSORS_FILE: save(dict(snapshot.tensors)),
        STATE_FILE: jsonio.to_json(snapshot.header.model_dump(mode="json"), indent=2).encode(),
    }
    manifest = {
        name: {"bytes": len(data), "sha256": atomic.sha256(data)} for name, data in contents.items()
    }
    contents[MANIFEST_FILE] = jsonio.to_json(manifest, indent=2).encode()
    with atomic.storage_errors("write", folder):
        folder.parent.mkdir(exist_ok=True)  # not `parents`: the run may have been moved away
        atomic.clean_up(folder.parent)
        with atomic.new_folder(folder, replace=True) as new:
            for name, data in contents.items():
                atomic.write_new(new / name, data)
    return folder


def _remove_others(run: Path, newest: Path, good: Path | None) -> None:
    """Delete all checkpoints but `newest`, its predecessor and the `good` state.

    Checkpoints of later steps are damaged or belong to a diverged training.
    """
    folders = checkpoint_folders(run)
    kept = {*folders[: folders.index(newest) + 1][-KEEP:], good}
    for folder in [*folders, *newest.parent.glob("good-*")]:
        if folder not in kept:
            atomic.discard(folder)


def load_newest(run: Path) -> tuple[Snapshot, list[DataError]]:
    """Return the newest undamaged checkpoint, and the errors of newer ones.

    The caller must hold the lock of the run: temporary files of a killed process are removed.
    Raise DataError if there is no undamaged checkpoint.
    """
    atomic.clean_up(run / CHECKPOINTS)
    errors: list[DataError] = []
    for folder in reversed(checkpoint_folders(run)):
        try:
            return _load(folder), errors
        except DataError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    raise DataError(f"{run} has no checkpoint", f"start it again with --name {run.name} --force")


def load_good(snapshot: Snapshot, run: Path) -> Snapshot:
    """Return the state to roll back to after resuming from `snapshot`: itself if there is no other.

    A damaged one is replaced by `snapshot`, too.
    """
    step = snapshot.header.good_step
    if step is None:
        return snapshot
    try:
        return _load(good_folder(run, step))
    except DataError:
        return snapshot


def _load(folder: Path) -> Snapshot:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        contents = {
            name: (folder / name).read_bytes() for name in (MANIFEST_FILE, STATE_FILE, TENSORS_FILE)
        }
    except OSError as error:
        raise DataError(f"{folder} is damaged: {error.strerror}: {error.filename}") from None
    manifest = jsonio.parse_json_object(contents[MANIFEST_FILE], str(folder / MANIFEST_FILE))
    for name in (STATE_FILE, TENSORS_FILE):
        if manifest.get(name) != {
            "bytes": len(contents[name]),
            "sha256": atomic.sha256(contents[name]),
        }:
            raise DataError(f"{folder / name} is damaged: it does not match its manifest")
    source = str(folder / STATE_FILE)
    header = parse_header(jsonio.parse_json_object(contents[STATE_FILE], source), source)
    try:
        return Snapshot(load(contents[TENSORS_FILE]), header, str(folder))
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{folder / TENSORS_FILE} is damaged: {error}") from None
