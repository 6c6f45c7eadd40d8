"""How far back a network learns to look, on a task whose best possible losses are known.

X_t are fair coin flips, and P(Y_t = 1) = 0.5 + 0.5·X_{t−3} − 0.25·X_{t−8}. The best loss of a model
that reads X and predicts Y is the conditional entropy H(Y_t | lags known): 0.6616 nats with neither
lag, 0.5192 with the first, 0.4545 with both. So the loss shows which lags were learned.

Truncated backpropagation through time (Williams and Peng, 1990) cuts the gradient after n tokens.
The claim: n decides what is learned. That holds if each window of n starts from a zero state: at
position p of a window lags 0 … p are known, so the best loss of windows of n is the mean of H over
p < n. If the state is carried, the forward pass remembers more than the gradient reaches: a wide
recurrent layer with random weights holds lag 8 well enough for the output layer to use it (a
reservoir; Jaeger, 2001), and n = 5 suffices. A layer of four units is too small for that, and
learns only the first lag in one epoch.
"""

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from statistics import mean

import numpy as np

from charnn.arrays import Integers
from charnn.config import CellName, SamplerName
from charnn.display.charts import Lines
from charnn.evaluation.evaluate import evaluate_carried, evaluate_windows
from charnn.evaluation.metrics import TokenLengths
from charnn.lab.experiment import Check, Experiment, Finding, Progress, Table, Tell
from charnn.lab.small_models import new_small_loop
from charnn.training.events import Step
from charnn.training.loop import train

BASE = 0.5  # P(Y_t = 1) where every X is 0
FIRST, SECOND = 3, 8
LAGS = {FIRST: 0.5, SECOND: -0.25}  # lag → coefficient of X at that lag
SHORT = 5  # an n at which the gradient reaches the first lag but not the second
# The state at the start of a window.
STATES: dict[SamplerName, str] = {"random": "zero", "sequential": "carried"}
WIDE, NARROW = 16, 4  # hidden sizes
LR = 0.02  # peak learning rate of AdamW; the networks have at most 16 units
BEST = "best possible, zero state"
TEST_SYMBOLS = 200_000  # scored; the standard error of a loss is then 0.001 nats
STREAMS, WARM_UP = 64, 64  # parallel streams of the test, and tokens of warm-up: 8 times lag 8
TEST_SEED = 1_000_003  # added to the seed for the flips of the test
WINDOW_COSTS: dict[SamplerName, float] = {"random": 2.5, "sequential": 1.0}  # relative, times 1/n
TRIAL_COST = 0.2  # relative duration of the rest of a trial
TOLERANCE = 0.01  # nats; ten times the standard error of a loss
SYMBOL_LENGTHS = TokenLengths(np.ones(2, np.int64), np.ones(2, np.int64), None)


@dataclass(frozen=True)
class Task:
    """Size of the experiment: coin flips to train on, parallel streams, cells, and lengths n."""

    symbols: int
    batch_size: int
    cells: tuple[CellName, ...]
    lengths: tuple[int, ...] = (1, 3, 5, 10, 20)


FULL = Task(1_000_000, 200, ("rnn", "lstm", "gru"))
QUICK = Task(100_000, 50, ("rnn",), lengths=(3, 5, 10, 20))


@dataclass(frozen=True)
class Trial:
    """One training run, and its loss on test flips in nats."""

    cell: CellName
    hidden_size: int
    state: str
    bptt: int
    loss: float

    @property
    def name(self) -> str:
        """The name of the line in the chart and of the row in the table."""
        return f"{self.cell.upper()} {self.hidden_size}, {self.state} state"


def conditional_entropy(known: Collection[int]) -> float:
    """Return H(Y_t | X at the lags in `known`) in nats, by enumerating all coin flips."""
    seen = [lag for lag in LAGS if lag in known]
    unseen = [lag for lag in LAGS if lag not in known]
    entropies = []
    for flips in itertools.product((0, 1), repeat=len(seen)):
        p_seen = BASE + sum(LAGS[lag] * flip for lag, flip in zip(seen, flips, strict=True))
        p = p_seen + sum(LAGS[lag] / 2 for lag in unseen)  # the mean of X is 1/2
        entropies.append(sum(-q * math.log(q) for q in (p, 1 - p) if q > 0))
    return mean(entropies)


LEVELS = {
    "neither": conditional_entropy(()),
    "first": conditional_entropy((FIRST,)),
    "both": conditional_entropy((FIRST, SECOND)),
}


LEVEL_LABELS = ("H(Y), no lag", f"H(Y), lag {FIRST}", f"H(Y), lags {FIRST}, {SECOND}")
EXPERIMENT = Experiment(
    name="memory",
    question=(
        "Truncated BPTT stops gradients after n tokens. Does n limit how far back a network "
        "learns to look?"
    ),
    claim=(
        "Yes, if each window of n tokens starts from a zero state: a dependency k tokens back "
        "needs n > k. If the state is carried from window to window, a large enough network "
        "learns longer dependencies than its gradient reaches."
    ),
    measured=(
        "A network reads coin flips X and predicts Y, which depends on two earlier flips:\n"
        "P(Y_t = 1) = 0.5 + 0.5 X_{t−3} − 0.25 X_{t−8}.\n"
        "Its loss shows which of the two it uses. The lowest possible loss is the conditional "
        f"entropy H(Y): {LEVELS['neither']:.4f} nats if it uses neither, {LEVELS['first']:.4f} if "
        f"it uses only X_{{t−3}}, {LEVELS['both']:.4f} if it uses both. RNN 16 is an RNN with 16 "
        "hidden units."
    ),
    advice=(
        "Train with carried state (--sampler sequential, the default). A dependency is learned "
        "reliably only if --bptt is longer than its distance."
    ),
)


def best_of_windows(bptt: int) -> float:
    """Return the best possible loss of windows of n flips, each from a zero state."""
    return mean(conditional_entropy(range(position + 1)) for position in range(bptt))


def flips(symbols: int, seed: int) -> tuple[Integers, Integers]:
    """Return X_1 … X_N, and targets: with each X_{t+1} the Y_t to predict after reading X_t."""
    random = np.random.default_rng(seed)
    longest = max(LAGS)
    x = random.integers(0, 2, symbols + longest)
    lagged = {lag: x[longest - lag : len(x) - lag] for lag in LAGS}
    p = BASE + sum(LAGS[lag] * lagged[lag] for lag in LAGS)
    y = (random.random(symbols) < p).astype(np.int64)
    return x[longest:], np.concatenate([[-1], y[:-1]])


def run_trial(
    cell: CellName,
    hidden_size: int,
    sampler: SamplerName,
    bptt: int,
    task: Task,
    seed: int,
    progress: Progress,
) -> Trial:
    """Train one network for one epoch and evaluate it with the state as in training."""
    settings = {
        "cell": cell,
        "hidden_size": hidden_size,
        "embedding_dim": 2,
        "sampler": sampler,
        "batch_size": task.batch_size,
        "bptt": bptt,
        "epochs": 1.0,
        "optimizer": "adamw",
        "lr": LR,
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "seed": seed,
    }
    inputs, targets = flips(task.symbols, seed)
    loop = new_small_loop(settings, 2, inputs, targets=targets)
    for event in train(loop):
        if isinstance(event, Step):
            progress.update(event.epoch)
    inputs, targets = flips(TEST_SYMBOLS, seed + TEST_SEED)
    if sampler == "random":
        score = evaluate_windows(loop.model, inputs, SYMBOL_LENGTHS, bptt, targets)
    else:
        score = evaluate_carried(
            loop.model, inputs, SYMBOL_LENGTHS, 0, STREAMS, WARM_UP, targets=targets
        )
    return Trial(cell, hidden_size, STATES[sampler], bptt, score.loss)


def run(*, seed: int, quick: bool, tell: Tell) -> Finding:
    """Train every cell with every n and both samplers, and an RNN too small for the second lag."""
    task = QUICK if quick else FULL
    return finding_of(run_trials(task, seed, tell), task)


def run_trials(task: Task, seed: int, tell: Tell) -> list[Trial]:
    """Run all trials of a task, in order of n."""
    networks: list[tuple[CellName, int, SamplerName]] = [
        *((cell, WIDE, sampler) for sampler in STATES for cell in task.cells),
        ("rnn", NARROW, "sequential"),
    ]
    progress = Progress(
        tell,
        [
            WINDOW_COSTS[sampler] / n + TRIAL_COST
            for n in task.lengths
            for _, _, sampler in networks
        ],
    )
    trials = []
    for bptt in task.lengths:
        for cell, width, sampler in networks:
            progress.start(f"{cell.upper()} {width}, {STATES[sampler]} state, n = {bptt}")
            trials.append(run_trial(cell, width, sampler, bptt, task, seed, progress))
    return trials


def finding_of(trials: Sequence[Trial], task: Task) -> Finding:
    """Return table, chart and results of the losses."""
    lines = {
        name: [(t.bptt, t.loss) for t in trials if t.name == name]
        for name in dict.fromkeys(t.name for t in trials)
    }
    lines[BEST] = [(bptt, best_of_windows(bptt)) for bptt in task.lengths]
    rows = [[name, *(f"{loss:.4f}" for _, loss in line)] for name, line in lines.items()]
    title = f"Loss after one epoch of {task.symbols:,} coin flips (nats)"
    return Finding(
        experiment=EXPERIMENT,
        tables=[Table(title, ["network", *(f"n = {n}" for n in task.lengths)], rows)],
        checks=_checks(trials),
        charts=[
            Lines(
                lines,
                title="loss over the truncation length",
                x_label="n, tokens per window",
                y_label="cross-entropy of Y (nats)",
                levels=dict(zip(LEVEL_LABELS, LEVELS.values(), strict=True)),
                log_x=True,
            )
        ],
        data={"levels": LEVELS, "trials": [asdict(t) for t in trials]},
    )


def _checks(trials: Sequence[Trial]) -> list[Check]:
    """Return the checks of the four parts of the claim."""
    neither, first, both = LEVELS.values()
    zero = [t for t in trials if t.state == "zero"]
    short = [t.loss for t in zero if t.bptt <= FIRST]
    medium = [t.loss for t in zero if FIRST < t.bptt <= SECOND]
    wide, narrow = (
        next(
            t.loss
            for t in trials
            if (t.cell, t.hidden_size, t.state, t.bptt) == ("rnn", width, "carried", SHORT)
        )
        for width in (WIDE, NARROW)
    )
    lengths = sorted({t.bptt for t in zero if FIRST < t.bptt <= SECOND})
    windows = f"windows of n = {' and '.join(map(str, lengths))}"
    carried = f"With carried state and n = {SHORT},"
    return [
        Check(
            f"From a zero state, windows of n ≤ {FIRST} learn [more than] nothing",
            f"the loss is {_range(short)}; using neither flip gives {neither:.4f}",
            all(abs(loss - neither) < TOLERANCE for loss in short),
        ),
        Check(
            f"From a zero state, {windows} [do not] learn X_{{t−{FIRST}}} at their later positions",
            f"the loss is {_range(medium)}; never using X_{{t−{FIRST}}} gives {neither:.4f}, "
            f"always using it {first:.4f}",
            all(first + TOLERANCE < loss < neither - TOLERANCE for loss in medium),
        ),
        Check(
            f"{carried} {WIDE} units are [not] enough to learn X_{{t−{SECOND}}} too, which the "
            "gradient does not reach",
            f"the loss is {wide:.4f}; using only X_{{t−{FIRST}}} gives {first:.4f}, using both "
            f"{both:.4f}",
            wide < (first + both) / 2,
        ),
        Check(
            f"{carried} {NARROW} units are [not] too few for that",
            f"the loss is {narrow:.4f}; using only X_{{t−{FIRST}}} gives {first:.4f}",
            narrow > first - TOLERANCE,
        ),
    ]


def _range(losses: Sequence[float]) -> str:
    low, high = f"{min(losses):.4f}", f"{max(losses):.4f}"
    return low if low == high else f"{low} to {high}"
