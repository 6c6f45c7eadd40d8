"""Write and read checkpoints: the training state on disk, for exact resume.

A checkpoint is a folder that appears by one rename. Its manifest, written last, holds the size and
SHA-256 of the other files. Tensors are safetensors, the rest is JSON; nothing is pickled.
"""

from pathlib import Path

from charnn.errors import DataError
from charnn.storage import atomic, jsonio
from charnn.training.snapshot import Snapshot, parse_header, refuse_diverged

CHECKPOINTS = "checkpoints"
TENSORS_FILE = "state.safetensors"
STATE_FILE = "state.json"
MANIFEST_FILE = "manifest.json"
KEEP = 2  # complete checkpoints that are kept: the newest, and one in case it is damaged


def save_checkpoint(snapshot: Snapshot, run: Path) -> Path:
    """Write a snapshot under `run`; of the older checkpoints only the newest is kept.

    Raise StorageError, or DivergedError where a weight is not finite; the older checkpoints are
    then unchanged.
    """
    from safetensors.torch import save

    refuse_diverged(snapshot)
    contents = {
        TENSORS_FILE: save(dict(snapshot.tensors)),
        STATE_FILE: jsonio.to_json(snapshot.header.model_dump(mode="json"), indent=2).encode(),
    }
    manifest = {
        name: {"bytes": len(data), "sha256": atomic.sha256(data)} for name, data in contents.items()
    }
    contents[MANIFEST_FILE] = jsonio.to_json(manifest, indent=2).encode()
    folder = run / CHECKPOINTS / f"step-{snapshot.step:08d}"
    with atomic.storage_errors("write", folder):
        folder.parent.mkdir(exist_ok=True)  # but not the run, should that have been moved away
        atomic.clean_up(folder.parent)
        with atomic.new_folder(folder, replace=True) as new:
            for name, data in contents.items():
                atomic.write_new(new / name, data)
    _remove_others(run, folder)
    return folder


def _remove_others(run: Path, newest: Path) -> None:
    """Keep `newest` and those just before it; what is ahead of it was damaged or has diverged."""
    folders = checkpoint_folders(run)
    kept = folders[: folders.index(newest) + 1][-KEEP:]
    for folder in folders:
        if folder not in kept:
            atomic.discard(folder)


def checkpoint_folders(run: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted((run / CHECKPOINTS).glob("step-*"), key=lambda path: (len(path.name), path.name))


def load_newest(run: Path) -> tuple[Snapshot, list[DataError]]:
    """Return the newest undamaged checkpoint, and the errors of newer ones.

    Only for whoever holds the run: leftovers of a killed process are put in order first.
    Raises DataError where there is none.
    """
    atomic.clean_up(run / CHECKPOINTS)
    faults: list[DataError] = []
    for folder in reversed(checkpoint_folders(run)):
        try:
            return _load(folder), faults
        except DataError as error:
            faults.append(error)
    if faults:
        raise faults[0]
    raise DataError(f"{run} holds no checkpoint", f"begin it again: --name {run.name} --force")


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
