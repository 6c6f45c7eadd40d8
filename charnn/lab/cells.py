"""RNN, LSTM and GRU at equal width and at equal numbers of weights: cost and loss.

With D inputs and H hidden units a layer has G · H · (D + H + 1) weights: G is 1 in an RNN (Elman,
1990), 4 in an LSTM (Hochreiter and Schmidhuber, 1997), 3 in a GRU (Cho and others, 2014). So
textbooks describe a GRU as an LSTM at three quarters of the cost that learns as well (Chung,
Gulcehre, Cho and Bengio, "Empirical evaluation of gated recurrent neural networks on sequence
modeling", 2014).

The number of weights does not determine the time: that depends on how a library computes the gates
(on a CPU, PyTorch uses oneDNN for an LSTM and its own code for a GRU), and drawing one token is
different from training on a batch. So the claim has several parts: fewer weights, less time per
token in training, less in sampling, no higher loss after equally many tokens and, with equally many
weights, after equal time. And gates help: an RNN of equal width, or with equally many weights, has
a higher loss after equally many tokens.

The networks are trained in turns, one step each, so that other load on the machine slows all of
them equally. The learning rate is constant, so that losses are comparable at any step.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

import numpy as np

from charnn.config import CellName, ModelConfig
from charnn.display.charts import Lines
from charnn.evaluation.evaluate import evaluate_carried
from charnn.lab.experiment import Check, Experiment, Finding, Progress, Table, Tell
from charnn.lab.small_models import Book, embedded_book, new_small_loop
from charnn.model.numpy_model import NumpyModel
from charnn.model.spec import tensor_shapes
from charnn.training.loop import TrainLoop, train

REFERENCE: CellName = "lstm"  # determines the width and number of weights of the others
OTHERS: tuple[CellName, ...] = ("gru", "rnn")
EMBEDDING_DIM = 32  # small, so that recurrent weights dominate
BATCH_SIZE, BPTT = 16, 64
MATRIX_LR = 0.02  # constant, so lower than the peak of 0.05 from which `train` decays
VAL_TOKENS = 8192  # tokens per validation, as MIN_VALIDATED in training
VALIDATIONS = 10  # validations of each network
STREAMS, WARM_UP = 16, 64  # parallel streams of a validation, and tokens of warm-up of each
SAMPLED_TOKENS = 1000  # per round
ROUNDS = 9  # rounds of sampling, the networks in turns
TOLERANCE = 0.01  # nats; smaller differences of losses do not count
SAMPLING_COST = 0.1  # duration of sampling, relative to training
EXPERIMENT = Experiment(
    name="cells",
    question="Is a GRU as good as an LSTM and cheaper, and do gates help?",
    claim=(
        "A GRU has three quarters of the weights of an LSTM of equal width, needs less time per "
        "token, and learns as well. An RNN, which has no gates, learns less from the same text."
    ),
    measured=(
        "Five networks are trained in turns, one step each: three cells of equal width, then a "
        "GRU and an RNN with about as many weights as the LSTM. The number after a cell is its "
        "width H (hidden units).\n"
        "Loss is the validation loss in nats per character, after equal numbers of tokens and "
        "after equal training time."
    ),
    advice=(
        "The times depend on the machine and the library. Compare cells on your text with charnn "
        "train --cell lstm and --cell gru at equal --minutes."
    ),
)


@dataclass(frozen=True)
class Effort:
    """Size of the experiment: width of the reference, training steps."""

    hidden_size: int
    steps: int


FULL, QUICK = Effort(128, 800), Effort(64, 150)


@dataclass
class Trial:
    """One network, its cost and its losses.

    `losses` are (tokens, seconds, validation loss in nats) at several steps of its training;
    `training` and `sampling` are seconds per token.
    """

    cell: CellName
    hidden_size: int
    weights: int
    training: float = 0.0
    sampling: float = 0.0
    losses: list[tuple[int, float, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Cell and width."""
        return f"{self.cell.upper()} {self.hidden_size}"

    @property
    def seconds(self) -> float:
        """Seconds of training."""
        return self.losses[-1][1]

    @property
    def loss(self) -> float:
        """Validation loss after training, in nats."""
        return self.losses[-1][2]

    def loss_after(self, seconds: float) -> float:
        """Return the loss after some seconds of training, interpolated linearly."""
        _, times, losses = zip(*self.losses, strict=True)
        return float(np.interp(seconds, times, losses))


def count_weights(config: ModelConfig) -> int:
    """Return the number of weights of a network."""
    return sum(int(np.prod(shape)) for shape in tensor_shapes(config).values())


def config_of(cell: CellName, hidden_size: int, vocab_size: int) -> ModelConfig:
    """Return the configuration of a network with one layer of this width."""
    return ModelConfig(
        cell=cell,
        hidden_size=hidden_size,
        num_layers=1,
        embedding_dim=EMBEDDING_DIM,
        tie_weights=False,
        vocab_size=vocab_size,
    )


def width_of_equal_weights(cell: CellName, weights: int, vocab_size: int) -> int:
    """Return the width at which the number of weights is closest to `weights`."""
    width = 1
    while count_weights(config_of(cell, width + 1, vocab_size)) <= weights:
        width += 1
    below, above = (count_weights(config_of(cell, w, vocab_size)) for w in (width, width + 1))
    return width if weights - below <= above - weights else width + 1


def run(*, seed: int, quick: bool, tell: Tell) -> Finding:
    """Train all networks in turns, then sample from them in turns."""
    effort, book = QUICK if quick else FULL, embedded_book()
    progress = Progress(tell, [1, SAMPLING_COST])
    reference = count_weights(config_of(REFERENCE, effort.hidden_size, book.vocab_size))
    networks = [
        (REFERENCE, effort.hidden_size),
        *((cell, effort.hidden_size) for cell in OTHERS),
        *((cell, width_of_equal_weights(cell, reference, book.vocab_size)) for cell in OTHERS),
    ]
    trials = [
        Trial(cell, width, count_weights(config_of(cell, width, book.vocab_size)))
        for cell, width in networks
    ]
    loops = [_new_loop(book, trial, effort, seed) for trial in trials]
    progress.start(f"training {len(trials)} networks in turns")
    train_in_turns(book, trials, loops, effort.steps, progress)
    progress.start(f"sampling from {len(trials)} networks in turns")
    sample_in_turns(trials, loops, seed)
    return finding_of(trials)


def _new_loop(book: Book, trial: Trial, effort: Effort, seed: int) -> TrainLoop:
    settings = {
        "cell": trial.cell,
        "hidden_size": trial.hidden_size,
        "embedding_dim": EMBEDDING_DIM,
        "batch_size": BATCH_SIZE,
        "bptt": BPTT,
        "steps": effort.steps,
        "matrix_lr": MATRIX_LR,
        "final_lr_frac": 1.0,
        "seed": seed,
    }
    return new_small_loop(settings, book.vocab_size, book.train, unk_id=book.lengths.unk_id)


def train_in_turns(
    book: Book,
    trials: Sequence[Trial],
    loops: Sequence[TrainLoop],
    steps: int,
    progress: Progress,
) -> None:
    """Train one step of each network in turn; add validation losses and times to the trials."""
    events = [train(loop) for loop in loops]
    seconds: list[list[float]] = [[] for _ in trials]
    for step in range(1, steps + 1):
        progress.update(step / steps)
        for events_of_one, spent in zip(events, seconds, strict=True):
            begin = time.perf_counter()
            next(events_of_one)
            spent.append(time.perf_counter() - begin)
        if step * VALIDATIONS // steps > (step - 1) * VALIDATIONS // steps:
            for trial, loop, spent in zip(trials, loops, seconds, strict=True):
                loss = validation_loss(book, loop)
                trial.losses.append((loop.counters.tokens, sum(spent), loss))
    for trial, loop, spent in zip(trials, loops, seconds, strict=True):
        trial.training = median(spent) * steps / loop.counters.tokens


def validation_loss(book: Book, loop: TrainLoop) -> float:
    """Return the loss on part of the validation split in nats per token."""
    text = book.val[:VAL_TOKENS]
    score = evaluate_carried(loop.model, text, book.lengths, book.start_token, STREAMS, WARM_UP)
    return score.loss


def sample_in_turns(trials: Sequence[Trial], loops: Sequence[TrainLoop], seed: int) -> None:
    """Measure the time per token of the networks as in `charnn sample`, one text at a time."""
    models = [loop.model for loop in loops]
    tokens = np.random.default_rng(seed).integers(
        models[0].config.vocab_size, size=(SAMPLED_TOKENS, 1)
    )
    numpy_models = [
        NumpyModel(model.config, {n: t.detach().numpy() for n, t in model.named_tensors().items()})
        for model in models
    ]
    seconds: list[list[float]] = [[] for _ in trials]
    for _ in range(ROUNDS):
        for numpy_model, spent in zip(numpy_models, seconds, strict=True):
            streams = numpy_model.streams(numpy_model.initial_state())
            begin = time.perf_counter()
            for ids in tokens:
                streams.step(ids)
            spent.append((time.perf_counter() - begin) / SAMPLED_TOKENS)
    for trial, spent in zip(trials, seconds, strict=True):
        trial.sampling = median(spent)


def finding_of(trials: Sequence[Trial]) -> Finding:
    """Return table, charts and results of the measurements.

    The trials are the reference, the others with its width, and the others with its number of
    weights.
    """
    equal_seconds = min(trial.seconds for trial in trials)
    tokens = trials[0].losses[-1][0]
    rows = [
        [
            trial.name,
            f"{trial.weights:,}",
            f"{1e6 * trial.training:.1f}",
            f"{1e6 * trial.sampling:.1f}",
            f"{trial.seconds:.1f}",
            f"{trial.loss:.4f}",
            f"{trial.loss_after(equal_seconds):.4f}",
        ]
        for trial in trials
    ]
    header = ["network", "weights", "µs/token, training", "µs/token, sampling", "seconds"]
    header += [f"loss, {tokens:,} tokens", f"loss, {equal_seconds:.1f} s"]
    title = f"Cost and validation loss, batches of {BATCH_SIZE} × {BPTT} tokens"
    lines_by_axis = {
        "tokens": {t.name: [(float(n), loss) for n, _, loss in t.losses] for t in trials},
        "seconds": {t.name: [(s, loss) for _, s, loss in t.losses] for t in trials},
    }
    return Finding(
        experiment=EXPERIMENT,
        tables=[Table(title, header, rows)],
        checks=_checks(trials, equal_seconds),
        charts=[
            Lines(lines, f"loss over {x}", f"{x} of training", "validation loss (nats/character)")
            for x, lines in lines_by_axis.items()
        ],
        data={
            "equal_tokens": tokens,
            "equal_seconds": equal_seconds,
            "trials": [
                {
                    **asdict(t),
                    "loss": t.loss,
                    "loss_after_equal_seconds": t.loss_after(equal_seconds),
                }
                for t in trials
            ],
        },
    )


def _checks(trials: Sequence[Trial], equal_seconds: float) -> list[Check]:
    lstm, gru, rnn, large_gru, large_rnn = trials
    ratios = [
        gru.weights / lstm.weights,
        gru.training / lstm.training,
        gru.sampling / lstm.sampling,
    ]
    weights, training, sampling = (f"{ratio:.0%}" for ratio in ratios)
    lstm_loss, large_gru_loss = lstm.loss_after(equal_seconds), large_gru.loss_after(equal_seconds)
    return [
        Check(
            "A GRU is [not] cheaper than an LSTM of equal width",
            f"it has {weights} of the weights, and needs {training} of the time per token in "
            f"training and {sampling} in sampling",
            max(ratios) < 1,
        ),
        Check(
            "After equal numbers of tokens, a GRU of equal width is [not] as good as the LSTM",
            f"its loss is {gru.loss:.3f}, that of the LSTM {lstm.loss:.3f}",
            gru.loss < lstm.loss + TOLERANCE,
        ),
        Check(
            f"After equal time ({equal_seconds:.1f} s), a GRU with as many weights is [not] as "
            "good as the LSTM",
            f"its loss is {large_gru_loss:.3f}, that of the LSTM {lstm_loss:.3f}",
            large_gru_loss < lstm_loss + TOLERANCE,
        ),
        Check(
            "After equal numbers of tokens, an RNN of equal width is [not] worse than LSTM and GRU",
            f"its loss is {rnn.loss:.3f}, theirs {lstm.loss:.3f} and {gru.loss:.3f}",
            rnn.loss > max(lstm.loss, gru.loss) + TOLERANCE,
        ),
        Check(
            "After equal numbers of tokens, an RNN with as many weights is [not] worse than LSTM "
            "and GRU",
            f"its loss is {large_rnn.loss:.3f}, theirs {lstm.loss:.3f} and {large_gru.loss:.3f}",
            large_rnn.loss > max(lstm.loss, large_gru.loss) + TOLERANCE,
        ),
    ]
