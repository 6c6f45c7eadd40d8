"""Train a network from start to end: build, train, validate, save, resume, roll back, score."""

import dataclasses
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import torch

from charnn.config import TrainConfig, flag
from charnn.data.dataset import Dataset, symbol_counts
from charnn.errors import DivergedError
from charnn.evaluation.metrics import Score
from charnn.generation.generate import sample_text
from charnn.model.device import Arithmetic
from charnn.model.language_model import LanguageModel, with_weights
from charnn.model.model_file import ModelFile
from charnn.model.numpy_model import NumpyModel
from charnn.training.checkpoint import good_folder, load_good, load_newest
from charnn.training.events import (
    Evaluation,
    Event,
    Noted,
    Result,
    Sampled,
    Saved,
    Step,
    Validating,
    Warned,
)
from charnn.training.init_from import copy_weights
from charnn.training.loop import new_loop, train
from charnn.training.metrics_log import truncate_log
from charnn.training.optimizers import rate_names
from charnn.training.presets import run_summary
from charnn.training.resolve import Resolved
from charnn.training.run_folder import RunFolder
from charnn.training.snapshot import Snapshot, capture, restore
from charnn.training.validation import Validator

MAX_ROLLBACKS = 3  # the learning rate is then an eighth
SNAPSHOT_STEPS = 200  # steps between rollback states without validation: the most that are lost
# Seconds between checkpoints without --save-every. A test checks that saving takes less than 1 %.
SAVE_SECONDS = 300.0
EXPLODED = 1.0  # nats above the best validation: the run is diverging
SAMPLE_TOKENS = 200  # in a sample shown during training: two or three lines of characters
STALLED = 5  # validations without improvement before a note: a quarter of the default 20


class Trainer:
    """A run: its network in training, its validation and its folder.

    `config` is resolved (resolve.py). A budget in minutes counts from `began`, in seconds of
    time.perf_counter, or from the construction. The fraction of the split read per validation
    grows with `planned_tokens`. If `baselines` is set, the result has the bits per character of
    n-gram models and compressors. `reconsider` returns other settings for a measured speed in
    tokens per minute, or None; it is called once, early in a run with a budget in minutes.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: TrainConfig,
        folder: Path,
        began: float | None = None,
        *,
        planned_tokens: float = 0.0,
        baselines: bool = False,
        reconsider: Callable[[float], Resolved | None] | None = None,
    ) -> None:
        self._began = time.perf_counter() if began is None else began
        self.dataset = dataset
        self.folder = RunFolder(folder, dataset.chars_per_token("train"))
        self._reconsider = reconsider
        self._build(config, planned_tokens)
        self._has_val = self.validator.has_val
        self._with_baselines = baselines and self._has_val
        self._baselines: dict[str, float] = {}
        self._notes: list[str] = []

    def _build(self, config: TrainConfig, planned_tokens: float) -> None:
        """Create the network and its training at step 0."""
        self.config = config
        arithmetic = Arithmetic(torch.device(config.device), config.precision)
        self.validator = Validator(self.dataset, arithmetic)
        tokens, tokenizer = self.dataset.split("train"), self.dataset.tokenizer
        self.loop = new_loop(
            config,
            tokens,
            symbol_counts(tokens, tokenizer),
            arithmetic,
            start_token=self.dataset.start_token,
            unk_id=tokenizer.unk_id,
            cost=self.validator.cost,
            planned_tokens=planned_tokens,
        )
        self._good = self._capture()  # the state that a divergence is rolled back to

    def resume(self, *, new_rates: bool = False) -> None:
        """Continue from the newest undamaged checkpoint of the run.

        If `new_rates` is set, the learning rate is no longer scaled by earlier rollbacks. Raise
        DataError if there is no checkpoint, UsageError if dataset or settings differ.
        """
        self.folder.clean_up()
        snapshot, errors = load_newest(self.folder.path)
        self._notes += [f"{error.message}; using an earlier checkpoint" for error in errors]
        if snapshot.header.torch != torch.__version__:
            self._notes.append(
                f"torch {snapshot.header.torch} → {torch.__version__}: the results may differ in "
                "the last digits from those of an uninterrupted run"
            )
        restore(self.loop, snapshot, self.dataset.fingerprint)
        self._good = load_good(snapshot, self.folder.path)
        counters = self.loop.counters
        if new_rates:
            counters.lr_scale = 1.0
        self.loop.budget.plan_at_speed(counters.step, counters.seconds)
        truncate_log(self.folder.path, counters.step, counters.evaluated_at)
        epochs = (self.loop.budget.steps or 0) / self.loop.sampler.batches_in(0)
        origin = f"resuming {self.folder.path} at step {counters.step:,}"
        tokens = len(self.dataset.split("train"))
        self._notes.insert(0, run_summary(origin, self.config, tokens, epochs))

    def init_from(self, model: ModelFile, name: str) -> None:
        """Start with the weights of a model. Raise DataError if the shapes differ."""
        known = copy_weights(model, self.loop.model, self.dataset.tokenizer)
        self._notes.append(
            f"{known:,} of {self.dataset.tokenizer.vocab_size:,} symbols are in the vocabulary of "
            f"{name}"
        )
        self._good = self._capture()

    def events(self) -> Generator[Event, None, None]:
        """Train, log, save the best model and evaluate it; the last event is the `Result`.

        A consumer that stops early must close the iterator before it calls `save`. A divergence is
        rolled back to the last good state, with half the learning rate. Raise DivergedError after
        MAX_ROLLBACKS rollbacks.
        """
        while self._notes:
            yield Noted(self._notes.pop(0))
        if not self._has_val:
            yield Noted(
                "no validation: the dataset has no validation split, or only unknown tokens"
            )
        if self._with_baselines and self.config.minutes is not None:
            self._baselines = self.validator.baselines()  # their time counts towards the minutes
        counters, start_up = self.loop.counters, time.perf_counter() - self._began
        counters.seconds += start_up
        overrun = self.loop.budget.start_up_note(start_up, counters.seconds)
        if overrun:
            yield Noted(overrun)
        first_tokens, first_seconds = counters.tokens, counters.seconds
        yield from self._train_with_rollbacks()
        counters = self.loop.counters
        tokens, seconds = counters.tokens - first_tokens, counters.seconds - first_seconds
        speed = tokens / seconds if seconds else 0.0
        yield from self._finish(speed, must_note_overrun=not overrun)

    def _train_with_rollbacks(self) -> Iterator[Event]:
        while True:
            loop = self.loop
            try:
                for event in self._train():
                    if self._is_good(event):
                        self._good = self._capture()
                    yield event
                    if isinstance(event, Step) and (note := self._check_speed()):
                        yield note
                    if self.loop is not loop:
                        break
                else:
                    return
            except DivergedError as error:
                yield self._roll_back(error)

    def _check_speed(self) -> Noted | None:
        """Compare the speed with that of the benchmark; plan the run again if it differs.

        A network of another size starts again at step 0, in the same folder and within the same
        time; for the same network only the regularization changes.
        """
        seconds = self.loop.budget.check_speed()
        if seconds is None or self._reconsider is None:
            return None
        counters = self.loop.counters
        resolved = self._reconsider(60 / seconds * counters.tokens / counters.step)
        if resolved is None:
            return None
        note = "; ".join(resolved.notes)
        vocab_size = self.dataset.tokenizer.vocab_size
        if resolved.config.shape(vocab_size) == self.loop.model.config:
            self.config = resolved.config
            self.loop.change_regularization(resolved.config)
            self.loop.budget.expect_tokens(resolved.planned_tokens)
        else:
            spent = self.loop.budget.elapsed
            self._build(resolved.config, resolved.planned_tokens)
            self.loop.counters.seconds = spent
            self.loop.budget.speed_is_checked = True
            self.folder.restart()
            note += "; starting again with this network"
        self.record_config()
        return Noted(note)

    def _train(self) -> Iterator[Event]:
        """Train for the planned steps; log events, save checkpoints and the best model."""
        saved_at = time.monotonic()
        for event in train(self.loop, self._validate if self._has_val else None):
            if isinstance(event, Step | Evaluation) and (warning := self.folder.log(event)):
                yield warning
            if isinstance(event, Evaluation) and event.best:
                self._keep_best(event)
            yield event
            if isinstance(event, Evaluation) and self._has_stalled:
                yield self._no_improvement()
            if not isinstance(event, Step):
                continue
            if self._save_is_due(event.step, saved_at):
                yield self.save()
                saved_at = time.monotonic()
            every = self.config.sample_every
            if every and event.step % every == 0:
                yield Sampled(event.step, self.sample())

    @property
    def _has_stalled(self) -> bool:
        """Return whether exactly STALLED validations have not improved the best loss."""
        no_limit = self.config.patience is None
        return no_limit and self.loop.counters.evaluations_since_best == STALLED

    def _no_improvement(self) -> Noted:
        return Noted(
            f"no improvement since step {self.loop.counters.best_step:,}; the best model is saved "
            f"(--patience {STALLED} would stop here)"
        )

    def _validate(self, model: LanguageModel) -> Iterator[Score]:
        return self.validator.during(model, self.loop.budget.fraction)

    def _is_good(self, event: Event) -> bool:
        """Return whether the current state becomes the one to roll back to."""
        if self._has_val:
            best = self.loop.counters.best_loss
            limit = math.inf if best is None else best + EXPLODED
            return isinstance(event, Evaluation) and event.score.loss < limit  # False for NaN
        return self.loop.counters.step - self._good.step >= SNAPSHOT_STEPS

    def _save_is_due(self, step: int, saved_at: float) -> bool:
        if self.config.save_every:
            return step % self.config.save_every == 0
        return time.monotonic() - saved_at >= SAVE_SECONDS

    def _capture(self) -> Snapshot:
        return capture(self.loop, self.dataset.fingerprint)

    def _roll_back(self, error: DivergedError) -> Warned:
        """Restore the last good state with half the learning rate; raise at the last attempt."""
        scale, seconds = self.loop.counters.lr_scale, self.loop.counters.seconds
        is_last = scale <= 0.5**MAX_ROLLBACKS
        restore(self.loop, self._good, self.dataset.fingerprint)
        counters = self.loop.counters
        truncate_log(self.folder.path, counters.step, counters.evaluated_at)
        self.loop.counters.lr_scale = scale if is_last else scale / 2
        if is_last:
            self.save()
            raise self._given_up(error) from None
        self.loop.counters.seconds = seconds
        return Warned(
            f"{error.message}; rolled back to step {self.loop.counters.step:,}, learning rate "
            f"scaled by {scale / 2}"
        )

    def _given_up(self, error: DivergedError) -> DivergedError:
        rates = " ".join(f"{flag(name)} …" for name in sorted(rate_names(self.config)))
        return DivergedError(
            error.message,
            f"{error.hint}; resume from step {self.loop.counters.step:,}: "
            f"charnn train --resume {self.folder.path} {rates}",
        )

    def save(self) -> Saved:
        """Write a checkpoint, and a model if no validation has saved one. Raise StorageError."""
        saved = self.folder.save(self._capture(), self._good)
        if self._good.step != saved.step:
            written = good_folder(self.folder.path, self._good.step)
            self._good = dataclasses.replace(self._good, source=str(written))
        self.record_config()
        if not (self._has_val and self.folder.model_path.exists()):
            averaged = self.loop.has_average
            metrics = {"step": self.loop.counters.step, "averaged": averaged}
            self.folder.write_model(self._model_file(metrics, averaged=averaged))
        return saved

    def record_config(self) -> None:
        """Write the configuration that repeats this run, with minutes replaced by planned steps."""
        config, steps = self.config, self.loop.budget.steps
        if steps is not None and config.minutes is not None:
            config = config.model_copy(update={"minutes": None, "steps": steps})
        self.folder.write_config(config)

    def _keep_best(self, event: Evaluation) -> None:
        metrics = {
            "step": event.step,
            "epoch": event.epoch,
            "averaged": event.averaged,
            "val": event.score.as_dict(),
        }
        self.folder.write_model(self._model_file(metrics, averaged=event.averaged))

    def _model_file(self, metrics: Mapping[str, object], *, averaged: bool = False) -> ModelFile:
        """Return the contents of a model file with the weights or their average."""
        weights = self.loop.weights(averaged=averaged)
        return ModelFile(
            config=self.loop.model.config,
            tokenizer=self.dataset.tokenizer,
            start_token=self.dataset.start_token,
            tensors={name: tensor.detach().cpu().numpy() for name, tensor in weights.items()},
            fingerprint=self.dataset.fingerprint,
            records=self.dataset.records,
            unknown_model=self.dataset.unknown_model,
            metrics=metrics,
            # The name of the dataset, not its path on this machine.
            training={**self.config.model_dump(mode="json"), "data": self.dataset.name},
        )

    def sample(self) -> str:
        """Return text sampled from the current weights. The state of training is not changed."""
        return _sampled(self._model_file({}), self.loop.counters.step)

    def _finish(self, tokens_per_second: float, *, must_note_overrun: bool) -> Iterator[Event]:
        """Save the last state, then score the best model and sample from it."""
        begin = time.perf_counter()
        if not self._has_val:
            self.loop.counters.best_step = self.loop.counters.step
        self.save()
        best, scores, fraction = self.folder.read_model(), dict[str, Score](), 1.0
        if self._has_val:
            fraction = self.loop.budget.final_fraction
            scores = yield from self._final_scores(best, fraction)
            found = {"val": scores["val"].as_dict()} | ({"share": fraction} if fraction < 1 else {})
            best = dataclasses.replace(best, metrics={**best.metrics, **found})
            self.folder.write_model(best)
        if fraction < 1:
            yield Noted(
                f"only {fraction:.0%} of the validation split was evaluated because of --minutes; "
                "charnn eval evaluates all of it"
            )
        if self._with_baselines and not self._baselines:
            self._baselines = self.validator.baselines()
        counters = self.loop.counters
        self.folder.log_final(counters, self.loop.epoch, scores.get("val"))
        sample = _sampled(best, self.config.seed)
        seconds = counters.seconds + time.perf_counter() - begin
        if must_note_overrun and (overrun := self.loop.budget.overrun_note(seconds)):
            yield Noted(overrun)
        yield Result(
            run=self.folder.path.name,
            steps=counters.step,
            epochs=self.loop.epoch,
            tokens=counters.tokens,
            seconds=seconds,
            tokens_per_second=tokens_per_second,
            parameters=best.parameters,
            train=scores.get("train"),
            val=scores.get("val"),
            best_step=counters.best_step,
            share=fraction,
            baselines=self._baselines,
            sample=sample,
        )

    def _final_scores(
        self, best: ModelFile, fraction: float
    ) -> Generator[Validating, None, dict[str, Score]]:
        """Return the scores of a model on the validation and the end of the training split."""
        network = with_weights(best).to(self.loop.arithmetic.device)
        scores = {"val": Score(), "train": Score()}
        parts = {
            "val": self.validator.final_val(network, fraction),
            "train": self.validator.final_train(network, fraction),
        }
        for split, some in parts.items():
            for part in some:
                scores[split] += part
                yield Validating(self.loop.counters.step, scores[split].tokens)
        return scores


def _sampled(model_file: ModelFile, seed: int) -> str:
    model = NumpyModel(model_file.config, model_file.tensors)
    return sample_text(model_file, model, SAMPLE_TOKENS, seed)
