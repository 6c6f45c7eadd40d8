"""The folder of a run: configuration, metrics log, best model, checkpoints."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charnn.config import TrainConfig
from charnn.errors import StorageError
from charnn.evaluation.metrics import Score, bits, perplexity
from charnn.model.model_file import ModelFile, read_model, write_model
from charnn.storage import atomic
from charnn.storage.lock import LOCK_FILE, Lock
from charnn.storage.settings_file import dump_settings
from charnn.storage.workspace import (
    CHECKPOINTS,
    CONFIG_FILE,
    FINAL,
    METRICS_FILE,
    MODEL_FILE,
    refuse_existing_run,
)
from charnn.training.checkpoint import save_checkpoint
from charnn.training.counters import Counters
from charnn.training.events import Evaluation, Saved, Step, Warned
from charnn.training.metrics_log import append_row
from charnn.training.snapshot import Snapshot

OWN_FILES = {CONFIG_FILE, METRICS_FILE, MODEL_FILE, CHECKPOINTS, LOCK_FILE}


class RunFolder:
    """The files of a run. `chars_per_token` converts a loss to bits per character."""

    def __init__(self, path: Path, chars_per_token: float) -> None:
        self.path = path
        self._chars_per_token = chars_per_token
        self._log_failed = False

    @property
    def model_path(self) -> Path:
        """Return the path of the best model so far."""
        return self.path / MODEL_FILE

    def create(self, *, force: bool) -> None:
        """Create the folder; replace an existing run only if `force` is set.

        Raise UsageError if the folder exists, BusyError if another process writes the run,
        StorageError if it cannot be created.
        """
        if force and self.path.is_dir():
            with atomic.storage_errors("replace", self.path):
                remove_run(self.path)
        atomic.make_folder(self.path.parent)
        with atomic.storage_errors("create", self.path):
            try:
                self.path.mkdir()
            except FileExistsError:
                refuse_existing_run(self.path)
                raise

    def clean_up(self) -> None:
        """Remove temporary files of a killed process. Raise StorageError if that fails."""
        with atomic.storage_errors("clean up", self.path):
            atomic.clean_up(self.path)

    def restart(self) -> None:
        """Remove log, model and checkpoints. Raise StorageError if that fails."""
        with self._vanishing(), atomic.storage_errors("clean up", self.path):
            for path in (self.path / METRICS_FILE, self.model_path):
                path.unlink(missing_ok=True)
            for folder in (self.path / CHECKPOINTS).glob("*"):
                atomic.discard(folder)

    def write_config(self, config: TrainConfig) -> None:
        """Write config.yaml. Raise StorageError if it cannot be written."""
        with self._vanishing():
            atomic.write_file(self.path / CONFIG_FILE, dump_settings(config).encode())

    def write_model(self, model: ModelFile) -> None:
        """Write model.safetensors. Raise StorageError if it cannot be written."""
        with self._vanishing():
            write_model(self.model_path, model)

    def read_model(self) -> ModelFile:
        """Read model.safetensors. Raise StorageError or DataError if it cannot be read."""
        return read_model(self.model_path)

    def save(self, snapshot: Snapshot, good: Snapshot) -> Saved:
        """Write a checkpoint, and one of the state to roll back to, unless it is written already.

        Raise StorageError, or DivergedError if a weight is not finite.
        """
        with self._vanishing():
            return Saved(snapshot.step, save_checkpoint(snapshot, self.path, good))

    @contextlib.contextmanager
    def _vanishing(self) -> Iterator[None]:
        """Raise StorageError with its own message if the folder no longer exists."""
        try:
            yield
        except (OSError, StorageError) as error:
            if self.path.is_dir():
                raise
            raise StorageError(
                f"the run folder {self.path} was removed or renamed during training",
                "rename it back and use --resume, or start a new run",
            ) from error

    def log(self, event: Step | Evaluation) -> Warned | None:
        """Append a validation or a logged step to metrics.jsonl.

        A failure to write is returned as a warning; nothing is logged after it.
        """
        row = self._row(event)
        if row is None or self._log_failed:
            return None
        try:
            with self._vanishing():
                append_row(self.path, row)
        except OSError as error:
            self._log_failed = True
            return Warned(f"cannot write {METRICS_FILE}: {error.strerror}; training continues")
        return None

    def log_final(self, counters: Counters, epoch: float, score: Score | None) -> None:
        """Append the score of the best model, which marks the run as finished.

        `score` is None without a validation split. A failure to write was reported before.
        """
        row = {
            "split": "train" if score is None else "val",
            "step": counters.step,
            "tokens": counters.tokens,
            "epoch": round(epoch, 4),
            "seconds": round(counters.seconds, 3),
            "loss": None if score is None else score.loss,
            "perplexity": None if score is None else score.perplexity,
            "bits_per_char": None if score is None else score.bits_per_char,
            **_coverage(score),
            "lr": None,
            "grad_norm": None,
            "tokens_per_second": None,
            "best_step": counters.best_step,
            FINAL: True,
        }
        with contextlib.suppress(OSError):
            append_row(self.path, row)

    def _row(self, event: Step | Evaluation) -> dict[str, Any] | None:
        if isinstance(event, Evaluation):
            row = _metrics_row(event, "val", event.score.loss, event.score.bits_per_char)
            return row | _coverage(event.score)
        if event.mean_loss is None:
            return None
        bits_per_char = bits(event.mean_loss, self._chars_per_token)
        return _metrics_row(event, "train", event.mean_loss, bits_per_char)


def _coverage(score: Score | None) -> dict[str, float]:
    """Return the fraction of the characters that a validation covers, and the bits of all."""
    if score is None:
        return {}
    return {"coverage": score.coverage, "bits_per_char_all": score.bits_per_char_all}


def _metrics_row(
    event: Step | Evaluation, split: str, loss: float, bits_per_char: float
) -> dict[str, Any]:
    step = event if isinstance(event, Step) else None
    return {
        "split": split,
        "step": event.step,
        "tokens": event.tokens,
        "epoch": round(event.epoch, 4),
        "seconds": round(event.seconds, 3),
        "loss": loss,
        "perplexity": perplexity(loss),
        "bits_per_char": bits_per_char,
        "lr": step.lr if step else None,
        "grad_norm": step.grad_norm if step else None,
        "tokens_per_second": round(step.tokens_per_second, 1) if step else None,
        **({"estimated": True} if step and step.estimated else {}),
    }


def remove_run(folder: Path) -> None:
    """Remove the folder of a run.

    Raise BusyError if another process is writing the run, StorageError if it cannot be removed or
    contains files that charnn did not write.
    """
    with Lock(folder):
        atomic.clean_up(folder)
        atomic.refuse_foreign(
            folder, OWN_FILES, "move them to another folder, or give another --name"
        )
        shutil.rmtree(folder)
