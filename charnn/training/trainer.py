"""Build a run from a dataset and a configuration; train, resume, roll back, finish."""

import time
from collections.abc import Iterator
from pathlib import Path

import torch

from charnn.api import Model
from charnn.config import TrainConfig, flag
from charnn.data.dataset import Dataset, symbol_counts
from charnn.data.samplers import SAMPLERS, fitting_batch_size
from charnn.errors import DivergedError
from charnn.evaluation.baselines import unigram
from charnn.evaluation.metrics import Score
from charnn.model import device as devices
from charnn.model.language_model import Dropouts, LanguageModel
from charnn.model.model_file import ModelFile, read_model
from charnn.training.checkpoint import load_newest
from charnn.training.events import Evaluation, Event, Result, Sampled, Saved, Step, Warned
from charnn.training.init_from import inherit
from charnn.training.loop import TrainLoop, train
from charnn.training.metrics_log import cut_back
from charnn.training.optimizers import rate_names
from charnn.training.presets import TOKENS_A_MINUTE
from charnn.training.run_folder import RunFolder
from charnn.training.snapshot import Snapshot, capture, restore
from charnn.training.validation import Validator

ROLL_BACKS = 3  # times that a run may diverge before it is given up
STARTUP_RESERVE = (
    1.0  # seconds of a budget for what no clock here sees: Python starts, text is written
)
GOOD_EVERY = 200  # steps after which a state counts as good though it was not validated
SAMPLE_TOKENS = 200  # in a sample shown while training,
SAMPLE_RECORDS = 3  # or, where a model writes one record at a time, so many of these


class Trainer:
    """One run with its parts built and, on resuming, its state restored.

    Building it resolves device, precision, threads and batch size; `notes` says what was adapted.
    What the validator's check raises ends a validation, which a resumed run then makes anew. A
    budget in minutes counts from `began`, in seconds of time.perf_counter, or from here.
    """

    def __init__(
        self, dataset: Dataset, config: TrainConfig, folder: Path, began: float | None = None
    ) -> None:
        self._began = time.perf_counter() if began is None else began
        self._first = (0, 0.0)  # tokens and seconds of the run when this session began to train
        self.dataset = dataset
        self.notes: list[str] = []
        devices.configure(config.threads, deterministic=config.deterministic)
        device = devices.choose_device(config.device)
        batch_size = self._fitting_batch_size(config)
        precision = devices.choose_precision(
            *(config.precision, device, config.hidden_size, batch_size),
            timed=not config.deterministic,
        )
        self.config = config.model_copy(
            update={
                "batch_size": batch_size,
                "precision": precision,
                "device": str(device),
                "threads": torch.get_num_threads(),
            }
        )
        self.run = RunFolder(folder, dataset, self.config)
        arithmetic = devices.Arithmetic(device, precision)
        self.training = self._build(arithmetic)
        self.validator = Validator(dataset, arithmetic)
        self.training.budget_seconds -= STARTUP_RESERVE
        self.training.validation_share = self.validator.share(self._planned_tokens())

    def _fitting_batch_size(self, config: TrainConfig) -> int:
        tokens = len(self.dataset.split("train"))
        fitting = fitting_batch_size(tokens, config.batch_size, config.bptt)
        if fitting < config.batch_size:
            self.notes.append(
                f"batch size {config.batch_size} → {fitting}: {tokens:,} training tokens hold "
                f"{fitting} rows of bptt {config.bptt}"
            )
        return fitting

    def _build(self, arithmetic: devices.Arithmetic) -> TrainLoop:
        config = self.config
        torch.manual_seed(config.seed)
        dropouts = Dropouts(
            config.dropout, config.input_dropout, config.embedding_dropout, config.weight_dropout
        )
        tokens, tokenizer = self.dataset.split("train"), self.dataset.tokenizer
        model = LanguageModel(config.shape(tokenizer.vocab_size), dropouts)
        model.init_output_bias(unigram(symbol_counts(tokens, tokenizer)))
        model = model.to(arithmetic.device)
        sampler = SAMPLERS[config.sampler].from_config(config, tokens)
        return TrainLoop(model, sampler, config, arithmetic, tokenizer.unk_id)

    def _planned_tokens(self) -> float:
        """About how many tokens the run will train on."""
        if self.config.minutes is not None:
            return self.config.minutes * TOKENS_A_MINUTE
        return (self.training.steps or 0) * self.config.batch_size * self.config.bptt

    def resume(self, *, new_rates: bool = False) -> None:
        """Go on from the run's newest whole checkpoint.

        With `new_rates` those of the optimizer are as given, and no longer halved.

        Raises DataError where there is none, UsageError where dataset or shape differ.
        """
        self.run.clean_up()
        state, faults = load_newest(self.run.folder)
        self.notes += [f"{fault.message}; an earlier checkpoint is used" for fault in faults]
        if state.counters.torch != torch.__version__:
            self.notes.append(
                f"torch {state.counters.torch} → {torch.__version__}: the results may differ in "
                "their last digits from those of a run that was never stopped"
            )
        self._go_back_to(state)
        training = self.training
        if new_rates:
            training.lr_scale = 1.0
        if self.config.minutes is not None and training.step:  # a new budget, at the pace so far
            fitting = training.step * training.budget_seconds / max(training.seconds, 1e-3)
            training.steps = max(training.step + 1, int(fitting))

    def init_from(self, path: Path) -> None:
        """Begin with the weights of a model. Raises DataError where the shapes differ."""
        known = inherit(self.training.model, self.dataset.tokenizer, path)
        self.notes.append(
            f"weights from {path}: {known:,} of {self.dataset.tokenizer.vocab_size:,} "
            "symbols known there"
        )

    def events(self) -> Iterator[Event]:
        """Train, log and keep the best model; whoever consumes this may stop between events.

        A divergence leads back to the last good state, with half the learning rate; raises
        DivergedError when that has been tried ROLL_BACKS times.
        """
        self.training.seconds += time.perf_counter() - self._began
        self._first = (self.training.tokens, self.training.seconds)
        good = capture(self.training, self.dataset.fingerprint)
        while True:
            try:
                for event in self._events():
                    if self._is_good(event, good):
                        good = capture(self.training, self.dataset.fingerprint)
                    yield event
                return
            except DivergedError as error:
                if self.training.lr_scale <= 0.5**ROLL_BACKS:
                    raise self._given_up(good, error) from None
                yield self._roll_back(good, error)

    def _is_good(self, event: Event, last: Snapshot) -> bool:
        """Whether to go back to here should the run diverge: it was validated, or nothing is."""
        if self.has_val:
            return isinstance(event, Evaluation)
        return self.training.step - last.counters.step >= GOOD_EVERY

    def _events(self) -> Iterator[Event]:
        validate = self._validate if self.has_val else None
        for event in self.run.record(self.training, train(self.training, validate, self._closing)):
            yield event
            if isinstance(event, Saved):
                self.record_config()
                self._keep_last()
            every = self.config.sample_every
            if every and isinstance(event, Step) and event.step % every == 0:
                yield Sampled(event.step, self.sample())

    @property
    def has_val(self) -> bool:
        """Whether there is text to validate on."""
        return "val" in self.dataset.splits

    def _validate(self, model: LanguageModel) -> Score:
        return self.validator.on_the_way(model, self.training.validation_share)

    @property
    def _closing(self) -> float:
        return self.validator.validations_at_end(self.training.validation_share)

    def _go_back_to(self, state: Snapshot) -> None:
        restore(self.training, state, self.dataset.fingerprint)
        cut_back(self.run.folder, self.training.step, self.training.evaluated_at)

    def _roll_back(self, good: Snapshot, error: DivergedError) -> Warned:
        scale, seconds = self.training.lr_scale / 2, self.training.seconds
        self._go_back_to(good)
        self.training.lr_scale, self.training.seconds = scale, seconds
        return Warned(
            f"{error.message}; back to step {self.training.step:,} with the learning rate × {scale}"
        )

    def _given_up(self, good: Snapshot, error: DivergedError) -> DivergedError:
        """Save the last good state; the error that says where it is."""
        scale = self.training.lr_scale
        self._go_back_to(good)
        self.training.lr_scale = scale
        self.save()
        rates = " ".join(f"{flag(name)} …" for name in sorted(rate_names(self.config)))
        return DivergedError(
            error.message,
            f"{error.hint}; step {self.training.step:,} was good: "
            f"charnn train --resume {self.run.folder} {rates}",
        )

    def sample(self, tokens: int = SAMPLE_TOKENS) -> str:
        """What the network writes as it is now; touches nothing that training depends on."""
        return _written(self.run.model_of(self.training, {}), tokens, self.training.step)

    def record_config(self) -> None:
        """Record the configuration that repeats this run: minutes become steps once known."""
        config = self.config
        if self.training.steps is not None and config.minutes is not None:
            config = config.model_copy(update={"minutes": None, "steps": self.training.steps})
        self.run.write_config(config)

    def save(self) -> Saved:
        """Write a checkpoint now, and a model where none was kept yet. Raises StorageError."""
        saved = self.run.save(self.training)
        self.record_config()
        self._keep_last()
        return saved

    def _keep_last(self) -> None:
        """Write the network as it is, where no validation tells which was the best one."""
        if self.has_val and self.run.model_path.exists():
            return
        averaged = bool(self.training.average.updates)
        with self.training.kept_weights(averaged=averaged):
            metrics = {"step": self.training.step, "averaged": averaged}
            self.run.write_model(self.training, metrics)

    def finish(self) -> Result:
        """Save the last state, and score the best model on the whole validation split."""
        begin = time.perf_counter()
        if not self.has_val:
            self.training.best_step = self.training.step
        self.save()
        scores = self._score_best()
        return self._result(scores, time.perf_counter() - begin)

    def _score_best(self) -> dict[str, Score]:
        """Scores of the kept model on the validation split, and on the end of the training one.

        That on the validation split is noted in the model's file.
        """
        if not self.has_val:
            return {}
        share = self.training.closing_share(self._closing)
        if share < 1:
            self.notes.append(
                f"{share:.0%} of the validation split was scored, as much as the minutes allow; "
                "charnn eval reads all of it"
            )
        model = self.training.model
        own = {name: tensor.detach().clone() for name, tensor in model.named_tensors().items()}
        best = read_model(self.run.model_path)
        try:
            model.load_tensors({name: torch.from_numpy(t) for name, t in best.tensors.items()})
            scores = self.validator.at_end(model, share)
            scored = {"val": scores["val"].as_dict()} | ({"share": share} if share < 1 else {})
            self.run.write_model(self.training, {**best.metrics, **scored})
        finally:
            model.load_tensors(own)
        return scores

    def best_sample(self, tokens: int = SAMPLE_TOKENS) -> str:
        """What the kept model writes."""
        return _written(read_model(self.run.model_path), tokens, self.config.seed)

    def _result(self, scores: dict[str, Score], closing_seconds: float) -> Result:
        training = self.training
        tokens, seconds = training.tokens - self._first[0], training.seconds - self._first[1]
        return Result(
            run=self.run.folder.name,
            steps=training.step,
            epochs=training.epoch,
            tokens=training.tokens,
            seconds=training.seconds + closing_seconds,
            tokens_per_second=tokens / seconds if seconds else 0.0,
            parameters=sum(t.numel() for t in training.model.named_tensors().values()),
            train=scores.get("train"),
            val=scores.get("val"),
            best_step=training.best_step,
            share=training.closing_share(self._closing),
        )


def _written(file: ModelFile, tokens: int, seed: int) -> str:
    """So many tokens of a text, or a few records."""
    model, seeds = Model(file), range(seed, seed + (SAMPLE_RECORDS if file.records else 1))
    return "\n".join("".join(model.generate(max_new_tokens=tokens, seed=s)) for s in seeds)
