"""RNN, LSTM and GRU, of equal width and of equally many weights: what each costs and learns.

For widths D of the inputs and H of the state a layer has G · H · (D + H + 1) weights: G is 1 in an
RNN (Elman, 1990), 4 in an LSTM (Hochreiter and Schmidhuber, 1997), 3 in a GRU (Cho and others,
2014). So a GRU is taught as three quarters of an LSTM that learns as well (Chung, Gulcehre, Cho and
Bengio, "Empirical evaluation of gated recurrent neural networks on sequence modeling", 2014).

Weights are not time: it depends on how a library computes the gates (on a CPU, PyTorch leaves an
LSTM to oneDNN and computes a GRU itself), and a token drawn one by one costs something else than a
batch to learn from. So the claim is taken apart: fewer weights, less
time for a token of training, less for one of sampling, no worse a loss after as many tokens, and,
with as many weights, after as much time. And that gates help: an RNN of equal width, or of as many
weights, learns less from as many tokens.

The networks are trained in turns, a step each, so that whatever else the machine does slows them
all alike; the learning rate is constant, so that any moment can be the end.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

import numpy as np

from charnn.config import CellName, ModelConfig
from charnn.display.charts import Lines
from charnn.evaluation.evaluate import evaluate_carried
from charnn.lab.experiment import Check, Finding, Table, Tell, verdict_of
from charnn.lab.small_models import Book, embedded_book, new_training
from charnn.model.model_file import tensor_shapes
from charnn.model.numpy_model import Stepper
from charnn.training.loop import TrainLoop, train

REFERENCE: CellName = "lstm"  # whose width and number of weights the others are given
OTHERS: tuple[CellName, ...] = ("gru", "rnn")
EMBEDDING_DIM = 32
BATCH_SIZE, BPTT = 16, 64
MATRIX_LR = 0.02
VALIDATED = 8192  # tokens of the validation split
VALIDATIONS = 10
STREAMS, WARM_UP = 16, 64
DRAWN = 1000  # tokens in one round of sampling
ROUNDS = 9
AS_GOOD = 0.01  # nats that decide nothing


@dataclass(frozen=True)
class Effort:
    """How much is tried: width of the reference, steps of training."""

    hidden_size: int
    steps: int


FULL, QUICK = Effort(128, 800), Effort(64, 200)


@dataclass
class Trial:
    """One network, and what it has cost and learnt so far.

    `losses` are (tokens, seconds, validation loss in nats) at several moments of its training;
    `training` and `sampling` are seconds a token.
    """

    cell: CellName
    hidden_size: int
    weights: int
    training: float = 0.0
    sampling: float = 0.0
    losses: list[tuple[int, float, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its cell and width."""
        return f"{self.cell} {self.hidden_size}"

    @property
    def seconds(self) -> float:
        """Of all its training."""
        return self.losses[-1][1]

    @property
    def loss(self) -> float:
        """After all its tokens."""
        return self.losses[-1][2]

    def loss_after(self, seconds: float) -> float:
        """Its loss after so many seconds of training, between the moments measured."""
        _, times, losses = zip(*self.losses, strict=True)
        return float(np.interp(seconds, times, losses))


def weights_of(config: ModelConfig) -> int:
    """How many weights a network has."""
    return sum(int(np.prod(shape)) for shape in tensor_shapes(config).values())


def shape_of(cell: CellName, hidden_size: int, vocab_size: int) -> ModelConfig:
    """The network of one layer of this width."""
    return ModelConfig(
        cell=cell,
        hidden_size=hidden_size,
        num_layers=1,
        embedding_dim=EMBEDDING_DIM,
        tie_weights=False,
        vocab_size=vocab_size,
    )


def width_of_equal_weights(cell: CellName, weights: int, vocab_size: int) -> int:
    """The width at which the number of weights is nearest."""
    width = 1
    while weights_of(shape_of(cell, width + 1, vocab_size)) <= weights:
        width += 1
    below, above = (weights_of(shape_of(cell, w, vocab_size)) for w in (width, width + 1))
    return width if weights - below <= above - weights else width + 1


def run(*, seed: int, quick: bool, tell: Tell) -> Finding:
    """Train all of them in turns, then let them sample in turns."""
    effort, book = QUICK if quick else FULL, embedded_book()
    reference = weights_of(shape_of(REFERENCE, effort.hidden_size, book.vocab_size))
    wanted = [
        (REFERENCE, effort.hidden_size),
        *((cell, effort.hidden_size) for cell in OTHERS),
        *((cell, width_of_equal_weights(cell, reference, book.vocab_size)) for cell in OTHERS),
    ]
    trials = [
        Trial(cell, width, weights_of(shape_of(cell, width, book.vocab_size)))
        for cell, width in wanted
    ]
    trainings = [_training(book, trial, effort, seed) for trial in trials]
    train_in_turns(book, trials, trainings, effort.steps, tell)
    tell("sampling in turns")
    sample_in_turns(trials, trainings, seed)
    return judged(trials)


def _training(book: Book, trial: Trial, effort: Effort, seed: int) -> TrainLoop:
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
    return new_training(settings, book.vocab_size, book.train, unk_id=book.lengths.unk_id)


def train_in_turns(
    book: Book, trials: Sequence[Trial], trainings: Sequence[TrainLoop], steps: int, tell: Tell
) -> None:
    """Let each training take a step, then each another; their losses go into the trials."""
    events = [train(training) for training in trainings]
    seconds: list[list[float]] = [[] for _ in trials]
    for step in range(1, steps + 1):
        tell(f"step {step} of {steps}, {len(trials)} networks in turns")
        for some, spent in zip(events, seconds, strict=True):
            begin = time.perf_counter()
            next(some)
            spent.append(time.perf_counter() - begin)
        if step * VALIDATIONS // steps > (step - 1) * VALIDATIONS // steps:
            for trial, training, spent in zip(trials, trainings, seconds, strict=True):
                loss = validation_loss(book, training)
                trial.losses.append((training.progress.tokens, sum(spent), loss))
    for trial, training, spent in zip(trials, trainings, seconds, strict=True):
        trial.training = median(spent) * steps / training.progress.tokens


def validation_loss(book: Book, training: TrainLoop) -> float:
    """In nats a token, of a part of the validation split."""
    text = book.val[:VALIDATED]
    score = evaluate_carried(training.model, text, book.lengths, book.start_token, STREAMS, WARM_UP)
    return score.loss


def sample_in_turns(trials: Sequence[Trial], trainings: Sequence[TrainLoop], seed: int) -> None:
    """Time the networks as `charnn sample` computes them, token after token, one text at a time."""
    models = [training.model for training in trainings]
    tokens = np.random.default_rng(seed).integers(models[0].config.vocab_size, size=(DRAWN, 1))
    steppers = [
        Stepper(model.config, {n: t.detach().numpy() for n, t in model.named_tensors().items()})
        for model in models
    ]
    seconds: list[list[float]] = [[] for _ in trials]
    for _ in range(ROUNDS):
        for stepper, spent in zip(steppers, seconds, strict=True):
            streams = stepper.streams(stepper.initial_state())
            begin = time.perf_counter()
            for ids in tokens:
                streams.step(ids)
            spent.append((time.perf_counter() - begin) / DRAWN)
    for trial, spent in zip(trials, seconds, strict=True):
        trial.sampling = median(spent)


def judged(trials: Sequence[Trial]) -> Finding:
    """Table, charts and verdict of what was measured.

    The trials are the reference, the others of its width, and the others of its weights.
    """
    soon = min(trial.seconds for trial in trials)
    tokens = trials[0].losses[-1][0]
    checks = _checks(trials, soon)
    rows = [
        [
            trial.name,
            f"{trial.weights:,}",
            f"{1e6 * trial.training:.1f}",
            f"{1e6 * trial.sampling:.1f}",
            f"{trial.seconds:.1f}",
            f"{trial.loss:.4f}",
            f"{trial.loss_after(soon):.4f}",
        ]
        for trial in trials
    ]
    header = ["network", "weights", "µs/token, training", "sampling", "seconds"]
    header += [f"loss after {tokens:,} tokens", f"after {soon:.1f} s"]
    title = f"validation loss in nats a character, batches of {BATCH_SIZE} × {BPTT}"
    over = {
        "tokens": {t.name: [(float(n), loss) for n, _, loss in t.losses] for t in trials},
        "seconds": {t.name: [(s, loss) for _, s, loss in t.losses] for t in trials},
    }
    return Finding(
        tables=[Table(title, header, rows)],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[
            Lines(lines, f"loss over {x}", f"{x} of training", "validation loss (nats)")
            for x, lines in over.items()
        ],
        data={
            "equal_tokens": tokens,
            "equal_seconds": soon,
            "trials": [
                {**asdict(t), "loss": t.loss, "loss_after_equal_seconds": t.loss_after(soon)}
                for t in trials
            ],
        },
    )


def _checks(trials: Sequence[Trial], soon: float) -> list[Check]:
    lstm, gru, rnn, large_gru, large_rnn = trials
    shares = [
        gru.weights / lstm.weights,
        gru.training / lstm.training,
        gru.sampling / lstm.sampling,
    ]
    weights, training, sampling = (f"{share:.0%}" for share in shares)
    return [
        Check(
            f"a GRU is cheaper than an LSTM of equal width in weights ({weights} of the LSTM's), "
            f"in time for a token of training ({training}) and for one of sampling ({sampling})",
            max(shares) < 1,
        ),
        Check(
            f"its loss after as many tokens is no worse ({gru.loss:.3f}, LSTM {lstm.loss:.3f})",
            gru.loss < lstm.loss + AS_GOOD,
        ),
        Check(
            f"with as many weights its loss after {soon:.1f} s of training is no worse "
            f"({large_gru.loss_after(soon):.3f}, LSTM {lstm.loss_after(soon):.3f})",
            large_gru.loss_after(soon) < lstm.loss_after(soon) + AS_GOOD,
        ),
        Check(
            f"an RNN of equal width learns less from as many tokens ({rnn.loss:.3f})",
            rnn.loss > max(lstm.loss, gru.loss) + AS_GOOD,
        ),
        Check(
            f"an RNN of as many weights learns less, too ({large_rnn.loss:.3f})",
            large_rnn.loss > max(lstm.loss, large_gru.loss) + AS_GOOD,
        ),
    ]
