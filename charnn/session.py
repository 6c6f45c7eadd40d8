"""From a dataset and a configuration to a finished run: builds the parts, trains, sums up.

Never knows: the command line, what a person sees.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from charnn import devices
from charnn.api import Model
from charnn.baselines import ladder, unigram
from charnn.checkpoint import load_newest
from charnn.config import TrainConfig
from charnn.corpus import Dataset, Tokens, symbol_counts
from charnn.errors import DivergedError
from charnn.evaluation import WARM_UP, default_streams, evaluate_carried
from charnn.events import Evaluation, Event, Result, Sampled, Saved, Step, Warned
from charnn.inheritance import inherit
from charnn.metrics import Score
from charnn.metrics_file import cut_back
from charnn.model import Dropouts, LanguageModel
from charnn.model_file import read_model
from charnn.presets import TOKENS_A_MINUTE
from charnn.runs import Run
from charnn.samplers import SAMPLERS, fitting_batch_size
from charnn.training import Training, train
from charnn.training_state import TrainingState, capture, restore
from charnn.units import Units

VALIDATION_SHARE = 0.0075  # of the tokens trained on: what each of 20 validations may read
LEAST_VALIDATION = 8192  # tokens
ROLL_BACKS = 3  # times that a run may diverge before it is given up
SAMPLE_TOKENS = 200  # in a sample shown while training
VALIDATION_STREAMS = 32
VALIDATION_WARM_UP = 128  # tokens; enough to rank one model against an earlier one


class Session:
    """One run with its parts built and, on resuming, its state restored.

    Building it resolves device, precision, threads and batch size; `notes` says what was adapted.
    What `check` raises ends a validation, which a resumed run then makes anew.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, folder: Path) -> None:
        self.dataset = dataset
        self.check: Callable[[], None] = lambda: None  # called between the parts of a validation
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
        self.run = Run(folder, dataset, self.config)
        self.training = self._build(devices.Arithmetic(device, precision))
        self._validation_share = self._part_to_validate()

    def _fitting_batch_size(self, config: TrainConfig) -> int:
        tokens = len(self.dataset.split("train"))
        fitting = fitting_batch_size(tokens, config.batch_size, config.bptt)
        if fitting < config.batch_size:
            self.notes.append(
                f"batch size {config.batch_size} → {fitting}: {tokens:,} training tokens hold "
                f"{fitting} rows of bptt {config.bptt}"
            )
        return fitting

    def _build(self, arithmetic: devices.Arithmetic) -> Training:
        config = self.config
        torch.manual_seed(config.seed)
        dropouts = Dropouts(
            config.dropout, config.input_dropout, config.embedding_dropout, config.weight_dropout
        )
        tokens, tokenizer = self.dataset.split("train"), self.dataset.tokenizer
        model = LanguageModel(config.shape(tokenizer.vocab_size), dropouts)
        model.start_at(unigram(symbol_counts(tokens, tokenizer)))
        model = model.to(arithmetic.device)
        sampler = SAMPLERS[config.sampler](
            tokens, config.batch_size, config.bptt, config.seed, vary=config.random_bptt
        )
        return Training(model, sampler, config, arithmetic, tokenizer.unk_id)

    @property
    def chars_per_token(self) -> float:
        """Characters that a token of the training split stands for, on average."""
        train = self.dataset.meta["splits"]["train"]
        return float(train["chars"] / max(1, train["tokens"]))

    def resume(self) -> None:
        """Go on from the run's newest whole checkpoint.

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
        good = capture(self.training, self.dataset.fingerprint)
        while True:
            try:
                for event in self._events():
                    if isinstance(event, Evaluation):
                        good = capture(self.training, self.dataset.fingerprint)
                    yield event
                return
            except DivergedError as error:
                if self.training.lr_scale <= 0.5**ROLL_BACKS:
                    raise self._given_up(good, error) from None
                yield self._roll_back(good, error)

    def _events(self) -> Iterator[Event]:
        validate = self._validate if "val" in self.dataset.splits else None
        final = 2 / self._validation_share  # of all the split, and of as much of the other one
        for event in self.run.record(self.training, train(self.training, validate, final)):
            yield event
            if isinstance(event, Saved):
                self.record_config()
            every = self.config.sample_every
            if every and isinstance(event, Step) and event.step % every == 0:
                yield Sampled(event.step, self.sample())

    def _go_back_to(self, state: TrainingState) -> None:
        restore(self.training, state, self.dataset.fingerprint)
        cut_back(self.run.folder, self.training.step, self.training.evaluated_at)

    def _roll_back(self, good: TrainingState, error: DivergedError) -> Warned:
        scale, seconds = self.training.lr_scale / 2, self.training.seconds
        self._go_back_to(good)
        self.training.lr_scale, self.training.seconds = scale, seconds
        return Warned(
            f"{error.message}; back to step {self.training.step:,} with the learning rate × {scale}"
        )

    def _given_up(self, good: TrainingState, error: DivergedError) -> DivergedError:
        """Save the last good state; the error that says where it is."""
        scale = self.training.lr_scale
        self._go_back_to(good)
        self.training.lr_scale = scale
        self.save()
        return DivergedError(
            error.message,
            f"{error.hint}; step {self.training.step:,} was good: "
            f"charnn train --resume {self.run.folder} --lr …",
        )

    def sample(self, tokens: int = SAMPLE_TOKENS) -> str:
        """What the network writes as it is now; touches nothing that training depends on."""
        model = Model(self.run.model_of(self.training, {}))
        return "".join(model.generate(max_new_tokens=tokens, seed=self.training.step))

    def _validate(self, model: LanguageModel) -> Score:
        """Score on the stated part of the validation split, spread over all of it."""
        val = self.dataset.split("val")
        streams = max(1, min(VALIDATION_STREAMS, len(val) // VALIDATION_WARM_UP))
        return self._score(model, val, streams, VALIDATION_WARM_UP, self._validation_share)

    def _part_to_validate(self) -> float:
        """The share of the validation split that is read during training.

        It depends on the length of the run where that is known from the start, and is settled
        then, for only losses of the same text compare.
        """
        if self.config.minutes is not None:
            planned = self.config.minutes * TOKENS_A_MINUTE
        else:
            planned = (self.training.steps or 0) * self.config.batch_size * self.config.bptt
        wanted = max(LEAST_VALIDATION, VALIDATION_SHARE * planned)
        return min(1.0, wanted / len(self.dataset.splits.get("val", (0,))))

    def _score(
        self,
        model: LanguageModel,
        tokens: Tokens,
        streams: int,
        warm_up: int = WARM_UP,
        share: float = 1.0,
    ) -> Score:
        units, start_token = Units.of(self.dataset.tokenizer), self.dataset.start_token
        with self._listening(model), self.training.arithmetic.autocast():
            return evaluate_carried(model, tokens, units, start_token, streams, warm_up, share)

    @contextlib.contextmanager
    def _listening(self, model: LanguageModel) -> Iterator[None]:
        """Inside the block every pass through the model is preceded by `self.check`."""
        hook = model.register_forward_pre_hook(lambda *_: self.check())
        try:
            yield
        finally:
            hook.remove()

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
        if not self.run.model_path.exists():
            self.run.write_model(self.training, {"step": self.training.step})
        return saved

    def finish(self) -> Result:
        """Save the last state, and score the best model on the whole validation split."""
        if "val" not in self.dataset.splits:
            self.run.write_model(self.training, {"step": self.training.step})
            self.training.best_step = self.training.step
        self.save()
        return self._result(self._score_best())

    def _score_best(self) -> dict[str, Score]:
        """Scores of the kept model on the validation split, and on as much of the training one.

        That on the validation split is noted in the model's file.
        """
        if "val" not in self.dataset.splits:
            return {}
        val, train = self.dataset.split("val"), self.dataset.split("train")
        model = self.training.model
        own = {name: tensor.detach().clone() for name, tensor in model.named_tensors().items()}
        best = read_model(self.run.model_path)
        try:
            model.load_tensors({name: torch.from_numpy(t) for name, t in best.tensors.items()})
            streams = default_streams(len(val))
            scores = {
                "val": self._score(model, val, streams),
                "train": self._score(model, train[-len(val) :], streams),
            }
            self.run.write_model(self.training, {**best.metrics, "val": scores["val"].as_dict()})
        finally:
            model.load_tensors(own)
        return scores

    def best_sample(self, tokens: int = SAMPLE_TOKENS) -> str:
        """What the kept model writes."""
        model = Model(read_model(self.run.model_path))
        return "".join(model.generate(max_new_tokens=tokens, seed=self.config.seed))

    def ladder(self) -> dict[str, float]:
        """Bits per character of the validation text without a network."""
        tokenizer = self.dataset.tokenizer
        train, val = self.dataset.split("train"), self.dataset.split("val")
        return ladder(train, val, tokenizer.pieces, tokenizer.unk_id)

    def _result(self, scores: dict[str, Score]) -> Result:
        training = self.training
        return Result(
            run=self.run.folder.name,
            steps=training.step,
            epochs=training.epoch,
            tokens=training.tokens,
            seconds=training.seconds,
            tokens_per_second=training.tokens / training.seconds if training.seconds else 0.0,
            parameters=sum(t.numel() for t in training.model.named_tensors().values()),
            train=scores.get("train"),
            val=scores.get("val"),
            best_step=training.best_step,
        )
