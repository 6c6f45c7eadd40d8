"""Train a run from its plan to its result: resolve settings, lock, build or resume, train."""

import contextlib
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from charnn.arguments import argument_names
from charnn.config import TrainConfig
from charnn.errors import CharnnError
from charnn.model.device import memory_explained
from charnn.storage.lock import Lock
from charnn.storage.workspace import checkpoint_folders
from charnn.training.events import Event, Noted, Result, Saved, Step
from charnn.training.optimizers import rate_names
from charnn.training.resolve import Resolved, reconsider, resolve, resolve_machine
from charnn.training.run_folder import remove_run
from charnn.training.run_plan import RunPlan
from charnn.training.time_budget import is_short
from charnn.training.trainer import Trainer


class Training:
    """A run that is ready to train. Iterate over its events, or call `run`.

    >>> for event in charnn.train("lamplighter", minutes=1):
    >>>     if isinstance(event, charnn.Evaluation):
    >>>         print(event.step, event.score.bits_per_char)

    The last event is the `Result`. If you leave the loop after the first step, a checkpoint is
    saved, from which `charnn.train(resume=...)` continues; if you leave it earlier, the run is
    removed. The run folder and the dataset are locked in the loop.
    """

    def __init__(
        self,
        plan: RunPlan,
        began: float | None = None,
        *,
        force: bool = False,
        baselines: bool = True,
    ) -> None:
        """Resolve the settings; benchmark the machine if they depend on it."""
        self._plan, self._force, self._baselines = plan, force, baselines
        self._began = time.perf_counter() if began is None else began
        smaller = "use a smaller --batch-size or --bptt, or a smaller model"
        with memory_explained("with this network", smaller):
            if plan.is_resumed:
                self._resolved = resolve_machine(plan.settings, plan.dataset)
            else:
                self._resolved = resolve(plan.settings, plan.dataset, plan.init_from)
        self._trainer: Trainer | None = None
        self.has_trained = False  # whether a step has been taken since the start or the resume
        self._locks = contextlib.ExitStack()

    @property
    def folder(self) -> Path:
        """The folder of the run. `charnn.load` accepts it once it contains a model."""
        return self._plan.folder

    @property
    def config(self) -> TrainConfig:
        """The resolved settings. They can change early in a run with a budget in minutes."""
        return self._trainer.config if self._trainer else self._resolved.config

    @property
    def notes(self) -> tuple[str, ...]:
        """Settings that were chosen or changed, one line each."""
        changes = self._plan.changes(self.config) if self._plan.is_resumed else ""
        return tuple(filter(None, (self._plan.note, changes, *self._resolved.notes)))

    @property
    def trainer(self) -> Trainer:
        """The trainer; available only inside the `with` block of the training."""
        assert self._trainer
        return self._trainer

    def __repr__(self) -> str:
        config, dataset = self.config, self._plan.dataset.name
        shape = f"{config.cell.upper()} {config.num_layers}×{config.hidden_size}"
        return f"Training({str(self.folder)!r}, {shape}, dataset={dataset!r})"

    def run(self) -> Result:
        """Train to the end and return the result."""
        for event in self:
            if isinstance(event, Result):
                return event
        raise AssertionError("the last event is the result")

    def __iter__(self) -> Iterator[Event]:
        """Train; yield the notes, then the events. Errors name arguments, not flags."""
        for note in self.notes:
            yield Noted(note)
        with argument_names(), self:
            yield from self.events()

    def __enter__(self) -> "Training":
        """Create or lock the run folder, lock the dataset, and build or restore the network.

        Raise UsageError if the name is taken, BusyError if another process writes the run, and
        StorageError or DataError.
        """
        plan = self._plan
        with self._memory_errors(), self._locks:
            self._trainer = trainer = Trainer(
                plan.dataset,
                self.config,
                plan.folder,
                self._began,
                planned_tokens=self._resolved.planned_tokens,
                baselines=self._baselines and not is_short(self.config),
                reconsider=None if plan.is_resumed else self._reconsider,
            )
            if not plan.is_resumed:
                trainer.folder.create(force=self._force)
                self._locks.callback(self._remove_if_empty)
            dataset = plan.dataset.folder.resolve()
            self._locks.enter_context(Lock(dataset.parent, dataset.name, shared=True))
            self._locks.enter_context(Lock(plan.folder))
            if plan.is_resumed:
                trainer.resume(new_rates=rate_names(self.config) <= plan.given.keys())
            elif plan.model is not None:
                trainer.init_from(plan.model, plan.init_from)
            trainer.record_config()
            self._locks = self._locks.pop_all()
        return self

    def _reconsider(self, tokens_per_minute: float) -> Resolved | None:
        plan = self._plan
        return reconsider(
            self._resolved, plan.settings, plan.dataset, tokens_per_minute, plan.init_from
        )

    def __exit__(self, *_: object) -> None:
        self._locks.close()

    def _remove_if_empty(self) -> None:
        """Remove the folder of a new run that ended before its first step."""
        if not self.has_trained and not checkpoint_folders(self.folder):
            with contextlib.suppress(CharnnError, OSError):
                remove_run(self.folder)

    def events(self) -> Generator[Event, None, None]:
        """Train inside the `with` block; if closed after the first step, save a checkpoint."""
        event: Event | None = None
        with self._memory_errors():
            try:
                with contextlib.closing(self.trainer.events()) as events:
                    for event in events:
                        self.has_trained = self.has_trained or isinstance(event, Step)
                        yield event
            except GeneratorExit:
                if self.has_trained and not isinstance(event, Result):
                    self.save()
                raise

    def save(self) -> Saved:
        """Write a checkpoint. Call it only between two events."""
        return self.trainer.save()

    def _memory_errors(self) -> contextlib.AbstractContextManager[None]:
        rows = self.config.batch_size
        return memory_explained(
            f"at batch size {rows}",
            f"use --batch-size {max(1, rows // 2)}, a shorter --bptt, or a smaller model",
        )
