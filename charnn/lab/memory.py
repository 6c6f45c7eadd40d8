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
from charnn.lab.experiment import Check, Finding, Table, Tell, verdict_of
from charnn.lab.small_models import new_small_loop
from charnn.training.loop import train

BASE = 0.5  # P(Y_t = 1) where every X is 0
FIRST, SECOND = 3, 8
LAGS = {FIRST: 0.5, SECOND: -0.25}  # lag → coefficient of X at that lag
SHORT = 5  # an n at which the gradient reaches the first lag but not the second
STATES: dict[SamplerName, str] = {"random": "zeroed", "sequential": "carried"}
WIDE, NARROW = 16, 4  # hidden sizes
LR = 0.02  # peak learning rate of AdamW; the networks have at most 16 units
BEST = "best from zero"  # name of the line of the best losses with zeroed states
TEST_SYMBOLS = 200_000  # scored; the standard error of a loss is then 0.001 nats
STREAMS, WARM_UP = 64, 64  # parallel streams of the test, and tokens of warm-up: 8 times lag 8
TEST_SEED = 1_000_003  # added to the seed for the flips of the test
TOLERANCE = 0.01  # nats; ten times the standard error of a loss
SYMBOL_LENGTHS = TokenLengths(np.ones(2, np.int64), np.ones(2, np.int64), None)


@dataclass(frozen=True)
class Task:
    """Size of the experiment: training flips, parallel streams, cells, and lengths n."""

    symbols: int
    batch_size: int
    cells: tuple[CellName, ...]
    lengths: tuple[int, ...] = (1, 3, 5, 10, 20)


FULL = Task(1_000_000, 200, ("rnn", "lstm", "gru"))
QUICK = Task(300_000, 100, ("rnn",))


@dataclass(frozen=True)
class Trial:
    """One training run, and its loss on test flips in nats."""

    cell: CellName
    hidden_size: int
    state: str
    bptt: int
    loss: float

    @property
    def column(self) -> str:
        """The name of the line in the chart and of the column in the table."""
        return f"{self.cell} {self.hidden_size} {self.state}"


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
    cell: CellName, hidden_size: int, sampler: SamplerName, bptt: int, task: Task, seed: int
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
    for _ in train(loop):
        pass
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
    trials = []
    for bptt in task.lengths:
        for cell, width, sampler in networks:
            tell(f"n = {bptt}: {cell} {width} wide, state {STATES[sampler]}")
            trials.append(run_trial(cell, width, sampler, bptt, task, seed))
    return trials


def finding_of(trials: Sequence[Trial], task: Task) -> Finding:
    """Return table, chart and verdict of the losses."""
    lines = {
        column: [(t.bptt, t.loss) for t in trials if t.column == column]
        for column in dict.fromkeys(t.column for t in trials)
    }
    lines[BEST] = [(bptt, best_of_windows(bptt)) for bptt in task.lengths]
    rows = [
        [str(bptt), *(f"{line[i][1]:.4f}" for line in lines.values())]
        for i, bptt in enumerate(task.lengths)
    ]
    title = f"cross-entropy of Y after one pass over {task.symbols:,} flips (nats)"
    checks = _checks(trials)
    return Finding(
        tables=[Table(title, ["n", *lines], rows)],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[
            Lines(
                lines,
                title="what is learnt of two lags",
                x_label="n, tokens between two detaches",
                y_label="cross-entropy of Y (nats)",
                levels=LEVELS,
                log_x=True,
            )
        ],
        data={"levels": LEVELS, "trials": [asdict(t) for t in trials]},
    )


def _checks(trials: Sequence[Trial]) -> list[Check]:
    """Return the checks of the four parts of the claim."""
    neither, first, both = LEVELS.values()
    zeroed = [t for t in trials if t.state == "zeroed"]
    below_first = [t.loss for t in zeroed if t.bptt <= FIRST]
    below_second = [t.loss for t in zeroed if FIRST < t.bptt <= SECOND]
    wide, narrow = (
        next(
            t.loss
            for t in trials
            if (t.cell, t.hidden_size, t.state, t.bptt) == ("rnn", width, "carried", SHORT)
        )
        for width in (WIDE, NARROW)
    )
    return [
        Check(
            f"from a state of zero n ≤ {FIRST} learns neither lag ({_range(below_first)} nats, "
            f"the entropy being {neither:.4f})",
            all(abs(loss - neither) < TOLERANCE for loss in below_first),
        ),
        Check(
            f"n from {FIRST + 1} to {SECOND} lies between that and {first:.4f} "
            f"({_range(below_second)})",
            all(first + TOLERANCE < loss < neither - TOLERANCE for loss in below_second),
        ),
        Check(
            f"with carried state an RNN {WIDE} wide has learnt lag {SECOND} at n = {SHORT}, "
            f"further than the gradient reaches ({wide:.4f}, nearer to {both:.4f})",
            wide < (first + both) / 2,
        ),
        Check(
            f"one {NARROW} wide has learnt the first lag alone ({narrow:.4f})",
            abs(narrow - first) < TOLERANCE,
        ),
    ]


def _range(losses: Sequence[float]) -> str:
    low, high = f"{min(losses):.4f}", f"{max(losses):.4f}"
    return low if low == high else f"{low} to {high}"
