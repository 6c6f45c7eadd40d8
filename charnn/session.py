"""From a dataset and a configuration to a finished run: builds the parts, trains, sums up.

Never knows: the command line, what a person sees.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from charnn import devices
from charnn.api import Model
from charnn.baselines import ladder
from charnn.checkpoint import Checkpoint, capture, load_newest, restore
from charnn.config import ModelConfig, TrainConfig
from charnn.corpus import Dataset
from charnn.errors import DataError, DivergedError
from charnn.evaluation import WARM_UP, Units, default_streams, evaluate_carried
from charnn.events import Evaluation, Event, Sampled, Saved, Step, Warned
from charnn.metrics import Score
from charnn.metrics_file import cut_back
from charnn.model import Dropouts, LanguageModel
from charnn.model_file import read_model
from charnn.presets import TOKENS_A_MINUTE
from charnn.runs import Run
from charnn.samplers import SAMPLERS, fitting_batch_size
from charnn.training import Training, train

VALIDATION_SHARE = 0.0075  # of the tokens trained on: what each of 20 validations may read
LEAST_VALIDATION = 8192  # tokens
ROLL_BACKS = 3  # times that a run may diverge before it is given up
SAMPLE_TOKENS = 200  # in a sample shown while training
VALIDATION_STREAMS = 32
VALIDATION_WARM_UP = 128  # tokens; enough to rank one model against an earlier one


@dataclass(frozen=True)
class Result:
    """What came of a run; `val` is the score of the best model on the whole validation split."""

    run: str
    steps: int
    epochs: float
    tokens: int
    seconds: float
    tokens_per_second: float
    parameters: int
    val: Score | None
    best_step: int


class Session:
    """One run with its parts built and, on resuming, its state restored.

    Building it resolves device, precision, threads and batch size; `notes` says what was adapted.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, folder: Path) -> None:
        self.dataset = dataset
        self.notes: list[str] = []
        devices.configure(config.threads, deterministic=config.deterministic)
        device = devices.choose_device(config.device)
        batch_size = self._fitting_batch_size(config)
        precision = devices.choose_precision(
            config.precision, device, config.hidden_size, batch_size
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
        model = LanguageModel(model_config(config, self.dataset), dropouts).to(arithmetic.device)
        sampler = SAMPLERS[config.sampler](
            self.dataset.split("train"),
            config.batch_size,
            config.bptt,
            config.seed,
            vary=config.random_bptt,
        )
        return Training(model, sampler, config, arithmetic, self.dataset.tokenizer.unk_id)

    @property
    def chars_per_token(self) -> float:
        """Characters that a token of the training split stands for, on average."""
        train = self.dataset.meta["splits"]["train"]
        return float(train["chars"] / max(1, train["tokens"]))

    def resume(self) -> None:
        """Go on from the run's newest whole checkpoint.

        Raises DataError where there is none, UsageError where dataset or shape differ.
        """
        checkpoint, faults = load_newest(self.run.folder)
        self.notes += [f"{fault.message}; an earlier checkpoint is used" for fault in faults]
        restore(self.training, checkpoint, self.dataset.fingerprint)
        cut_back(self.run.folder, self.training.step)

    def init_from(self, path: Path) -> None:
        """Begin with the weights of a model; its vocabulary is mapped symbol by symbol.

        Raises DataError where the shapes of the layers differ.
        """
        loaded = read_model(path)
        own = self.training.model.named_tensors()
        rows = _shared_symbols(self.dataset.tokenizer.pieces, loaded.tokenizer.pieces)
        with torch.no_grad():
            for name, tensor in own.items():
                theirs = torch.tensor(loaded.tensors.get(name, ()))
                by_symbol = name.startswith(("embedding.", "output."))
                if (
                    len(own) != len(loaded.tensors)
                    or theirs.shape[by_symbol:] != tensor.shape[by_symbol:]
                ):
                    raise DataError(
                        f"{path} has another shape: {name} is {tuple(theirs.shape)} there, "
                        f"{tuple(tensor.shape)} here",
                        "give the same --cell, --hidden-size, --num-layers and --embedding-dim",
                    )
                if by_symbol:
                    tensor[list(rows)] = theirs[list(rows.values())]
                else:
                    tensor.copy_(theirs)
        self.notes.append(
            f"weights from {path}: {len(rows):,} of {len(self.dataset.tokenizer.pieces):,} "
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
                    raise
                yield self._roll_back(good, error)

    def _events(self) -> Iterator[Event]:
        validate = self._validate if "val" in self.dataset.splits else None
        final = 1 / self._validation_share
        for event in self.run.record(self.training, train(self.training, validate, final)):
            yield event
            if isinstance(event, Saved):
                self.record_config()
            every = self.config.sample_every
            if every and isinstance(event, Step) and event.step % every == 0:
                yield Sampled(event.step, self.sample())

    def _roll_back(self, good: Checkpoint, error: DivergedError) -> Warned:
        scale, seconds = self.training.lr_scale / 2, self.training.seconds
        restore(self.training, good, self.dataset.fingerprint)
        self.training.lr_scale, self.training.seconds = scale, seconds
        cut_back(self.run.folder, self.training.step)
        return Warned(
            f"{error.message}; back to step {self.training.step:,} with the learning rate × {scale}"
        )

    def sample(self, tokens: int = SAMPLE_TOKENS) -> str:
        """What the network writes as it is now; touches nothing that training depends on."""
        model = Model(self.run.model_of(self.training, {}))
        return "".join(model.generate(max_new_tokens=tokens, seed=self.training.step))

    def _validate(self, model: LanguageModel) -> Score:
        """Score on the stated part of the validation split, spread over all of it."""
        tokens = self.dataset.split("val")
        streams = max(1, min(VALIDATION_STREAMS, len(tokens) // VALIDATION_WARM_UP))
        return self._score(model, streams, VALIDATION_WARM_UP, self._validation_share)

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
        self, model: LanguageModel, streams: int, warm_up: int = WARM_UP, share: float = 1.0
    ) -> Score:
        units = Units.of(self.dataset.tokenizer)
        tokens, start_token = self.dataset.split("val"), self.dataset.start_token
        with self.training.arithmetic.autocast():
            return evaluate_carried(model, tokens, units, start_token, streams, warm_up, share)

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

    def _score_best(self) -> Score | None:
        """Score of the kept model on all of the validation split, noted in its file."""
        if "val" not in self.dataset.splits:
            return None
        model = self.training.model
        own = {name: tensor.detach().clone() for name, tensor in model.named_tensors().items()}
        best = read_model(self.run.model_path)
        model.load_tensors({name: torch.from_numpy(t) for name, t in best.tensors.items()})
        score = self._score(model, default_streams(len(self.dataset.split("val"))))
        self.run.write_model(self.training, {**best.metrics, "val": score.as_dict()})
        model.load_tensors(own)
        return score

    def best_sample(self, tokens: int = SAMPLE_TOKENS) -> str:
        """What the kept model writes."""
        model = Model(read_model(self.run.model_path))
        return "".join(model.generate(max_new_tokens=tokens, seed=self.config.seed))

    def ladder(self) -> dict[str, float]:
        """Bits per character of the validation text without a network."""
        tokenizer = self.dataset.tokenizer
        train, val = self.dataset.split("train"), self.dataset.split("val")
        return ladder(train, val, tokenizer.pieces, tokenizer.unk_id)

    def _result(self, val: Score | None) -> Result:
        training = self.training
        return Result(
            run=self.run.folder.name,
            steps=training.step,
            epochs=training.epoch,
            tokens=training.tokens,
            seconds=training.seconds,
            tokens_per_second=training.tokens / training.seconds if training.seconds else 0.0,
            parameters=sum(t.numel() for t in training.model.named_tensors().values()),
            val=val,
            best_step=training.best_step,
        )


def _shared_symbols(own: list[bytes], theirs: list[bytes]) -> dict[int, int]:
    """Ids of the symbols that both vocabularies have: ours → theirs."""
    ids = {piece: index for index, piece in enumerate(theirs)}
    return {index: ids[piece] for index, piece in enumerate(own) if piece in ids}


def model_config(config: TrainConfig, dataset: Dataset) -> ModelConfig:
    """The shape of the network that `config` asks for on this dataset."""
    return ModelConfig(
        cell=config.cell,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        embedding_dim=config.embedding_dim,
        tie_weights=config.tie_weights,
        vocab_size=dataset.tokenizer.vocab_size,
    )
