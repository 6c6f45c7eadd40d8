"""The folder of a run: configuration, metrics log, best model, checkpoints."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charnn.config import TrainConfig
from charnn.data.dataset import Dataset
from charnn.errors import UsageError
from charnn.evaluation.metrics import bits, perplexity
from charnn.model.model_file import ModelFile, write_model
from charnn.storage import atomic
from charnn.storage.lock import LOCK_FILE, Lock
from charnn.storage.settings_file import dump_settings
from charnn.storage.workspace import CONFIG_FILE, MODEL_FILE
from charnn.training.checkpoint import CHECKPOINTS, save_checkpoint
from charnn.training.events import Evaluation, Saved, Step, Warned
from charnn.training.loop import TrainLoop
from charnn.training.metrics_log import METRICS_FILE, append_row

LOG_EVERY = 10  # steps between two training lines in metrics.jsonl
SAVE_SECONDS = 300.0  # between checkpoints, where save_every is not given
OWN = {CONFIG_FILE, METRICS_FILE, MODEL_FILE, CHECKPOINTS, LOCK_FILE}  # names in a folder


class RunFolder:
    """The folder of one training run, and what must be known to fill it."""

    def __init__(self, folder: Path, dataset: Dataset, config: TrainConfig) -> None:
        self.folder = folder
        self.dataset = dataset
        self.config = config
        self._log_failed = False

    @property
    def model_path(self) -> Path:
        """Where the best model so far is."""
        return self.folder / MODEL_FILE

    def create(self, *, force: bool) -> None:
        """Make the folder; an existing run is replaced only with `force`.

        Raises UsageError where the name is taken, StorageError where it cannot be made.
        """
        if force and self.folder.is_dir():
            with atomic.storage_errors("replace", self.folder):
                remove_run(self.folder)
        atomic.make_folder(self.folder.parent)
        with atomic.storage_errors("make", self.folder):
            try:
                self.folder.mkdir()
            except FileExistsError:
                if not self.folder.is_dir():
                    raise
                raise UsageError(
                    f"{self.folder} exists already",
                    "give another --name, --resume it, or replace it with --force",
                ) from None

    def clean_up(self) -> None:
        """Remove what a killed process left unfinished here. Raises StorageError."""
        with atomic.storage_errors("clean up", self.folder):
            atomic.clean_up(self.folder)

    def write_config(self, config: TrainConfig) -> None:
        """Record the configuration as resolved so far."""
        self.config = config
        atomic.write_file(self.folder / CONFIG_FILE, dump_settings(config).encode())

    def log(self, training: TrainLoop, event: Step | Evaluation) -> Warned | None:
        """Append an event to metrics.jsonl; a log that fails is reported once, then given up."""
        row = self._row(training, event)
        if row is None or self._log_failed:
            return None
        try:
            append_row(self.folder, row)
        except OSError as error:
            self._log_failed = True
            return Warned(f"cannot write {METRICS_FILE}: {error.strerror}; training goes on")
        return None

    def _row(self, training: TrainLoop, event: Step | Evaluation) -> dict[str, Any] | None:
        if isinstance(event, Evaluation):
            return _metrics_row(event, "val", event.score.loss, event.score.bits_per_char)
        if event.step % LOG_EVERY and event.step != event.steps:
            return None
        loss = training.take_mean_loss()
        bits_per_char = bits(loss, self.dataset.chars_per_token("train"))
        return _metrics_row(event, "train", loss, bits_per_char)

    def keep_model(self, training: TrainLoop, event: Evaluation) -> None:
        """Write the network as the best model so far."""
        metrics = {
            "step": event.step,
            "epoch": event.epoch,
            "averaged": event.averaged,
            "val": event.score.as_dict(),
        }
        with training.kept_weights(averaged=event.averaged):
            self.write_model(training, metrics)

    def write_model(self, training: TrainLoop, metrics: dict[str, Any]) -> None:
        """Write the network, with what is known of it, to the model file of the run."""
        write_model(self.model_path, self.model_of(training, metrics))

    def model_of(self, training: TrainLoop, metrics: dict[str, Any]) -> ModelFile:
        """The network as it is now, as plain values."""
        tensors = {
            name: tensor.detach().cpu().numpy()
            for name, tensor in training.model.named_tensors().items()
        }
        # The name of the dataset is kept, not where it lay.
        recorded = {**self.config.model_dump(mode="json"), "data": self.dataset.name}
        return ModelFile(
            config=training.model.config,
            tokenizer=self.dataset.tokenizer,
            start_token=self.dataset.start_token,
            tensors=tensors,
            fingerprint=self.dataset.fingerprint,
            records=self.dataset.records,
            metrics=metrics,
            training=recorded,
        )

    def save(self, training: TrainLoop) -> Saved:
        """Write a checkpoint now. Raises StorageError."""
        folder = save_checkpoint(training, self.folder, self.dataset.fingerprint)
        return Saved(training.step, folder)

    def record(
        self, training: TrainLoop, events: Iterator[Step | Evaluation]
    ) -> Iterator[Step | Evaluation | Saved | Warned]:
        """Write down what happens, and pass it on; the best model is kept, state is saved."""
        saved_at = time.monotonic()
        for event in events:
            if warning := self.log(training, event):
                yield warning
            if isinstance(event, Evaluation) and event.best:
                self.keep_model(training, event)
            yield event
            if isinstance(event, Step) and self._save_is_due(event.step, saved_at):
                yield self.save(training)
                saved_at = time.monotonic()

    def _save_is_due(self, step: int, saved_at: float) -> bool:
        if self.config.save_every:
            return step % self.config.save_every == 0
        return time.monotonic() - saved_at >= SAVE_SECONDS


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
    }


def remove_run(folder: Path) -> None:
    """Remove a run and its folder; nothing, if there is anything else in it.

    Raises BusyError where another process is writing the run, StorageError where it cannot go.
    """
    with Lock(folder):
        atomic.clean_up(folder)
        atomic.refuse_foreign(folder, OWN, "move it away first, or give another --name")
        shutil.rmtree(folder)
