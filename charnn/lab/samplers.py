"""Random against sequential batches at equal numbers of tokens, and the effect of carried state.

A text is cut into windows of n tokens. Sequential: consecutive windows are read in order, and the
hidden state is carried (and detached) between them, so that h_t depends on all of x_1 … x_t
although gradients go back n steps only. Random: windows are read in random order, each from h = 0,
so that the first tokens of a window are predicted from little context (Zhang and others, "Dive into
deep learning", 2021, §8.3, has both). Both read every token once per epoch, and a step costs the
same.

The claims: each order has the lower loss if evaluation treats the state as training did, and the
difference is larger for shorter windows. And a state carried into a window that does not continue
the text is worse than the true state, in evaluation and in training (shuffled windows with carried
state are an easy mistake).
"""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.config import SamplerName
from charnn.display.charts import Lines
from charnn.display.learning_curves import Line
from charnn.evaluation.evaluate import default_streams, evaluate_carried, evaluate_windows
from charnn.lab.experiment import (
    Check,
    Experiment,
    Finding,
    Progress,
    Table,
    Tell,
    compared,
)
from charnn.lab.small_models import Book, embedded_book, new_small_loop
from charnn.training.events import Step
from charnn.training.loop import train

TOKENS = 2048  # per step, for every n
LAST_STEPS = 20  # the training loss is their mean
RANDOM, SEQUENTIAL, SHUFFLED = "random, zero", "sequential, carried", "shuffled, carried"
ORDERS: dict[str, SamplerName] = {
    RANDOM: "random",
    SEQUENTIAL: "sequential",
    SHUFFLED: "sequential",  # on a text whose windows were shuffled before
}
EXPERIMENT = Experiment(
    name="samplers",
    question=(
        "Should windows of text be read in order with carried state, or in random order from a "
        "zero state?"
    ),
    claim=(
        "Each way has the lower loss if evaluation treats the state as training did. The shorter "
        "the windows, the larger the difference. Carrying the state into a window that does not "
        "continue the text is a mistake, in evaluation and in training."
    ),
    measured=(
        "Losses in nats per character of an LSTM. It is trained on windows of n characters in "
        "three ways: in random order from a zero state (random, zero), in order with carried "
        "state (sequential, carried), and in shuffled order with carried state (shuffled, "
        "carried), which is the mistake.\n"
        "It is evaluated on the validation text in three ways: each window from a zero state "
        "(eval, zero), with carried state (eval, carried), and with the state carried over "
        "shuffled windows (eval, shuffled)."
    ),
    advice=(
        "Use --sampler sequential (the default) for continuous text: charnn eval and charnn "
        "sample carry the state."
    ),
)


@dataclass(frozen=True)
class Effort:
    """Size of the experiment: width of the LSTM, epochs, lengths n of windows."""

    hidden_size: int
    epochs: float
    lengths: tuple[int, ...]


FULL, QUICK = Effort(128, 4.0, (4, 16, 64)), Effort(64, 1.5, (4, 16))


@dataclass(frozen=True)
class Trial:
    """One training run: its training loss and three validation losses.

    `zero`: from a zero state in each window of n; `carried`: with the state carried through the
    text; `shuffled`: with the state carried through the windows in shuffled order.
    """

    order: str
    bptt: int
    training: float
    zero: float
    carried: float
    shuffled: float


def shuffled(tokens: Ids, window: int, seed: int) -> tuple[Integers, Integers]:
    """Return a text with its windows in random order, and the targets.

    The target of a token is the one that follows it in the text, also for the last token of a
    window; the first token is not a target.
    """
    count = (len(tokens) - 1) // window
    starts = window * np.random.default_rng(seed).permutation(count)
    places = (starts[:, None] + np.arange(window)).ravel()
    inputs, targets = tokens[places].astype(np.int64), tokens[places + 1].astype(np.int64)
    # One more token, because targets are shifted: targets[i + 1] is predicted from inputs[i].
    return np.append(inputs, tokens[:1]), np.append([-1], targets)


def run_trial(
    book: Book, order: str, bptt: int, effort: Effort, seed: int, progress: Progress
) -> Trial:
    """Train an LSTM in one of the orders and compute all three validation losses."""
    settings = {
        "cell": "lstm",
        "hidden_size": effort.hidden_size,
        "embedding_dim": 32,
        "sampler": ORDERS[order],
        "batch_size": TOKENS // bptt,
        "bptt": bptt,
        "epochs": effort.epochs,
        "seed": seed,
    }
    tokens, targets = shuffled(book.train, bptt, seed) if order == SHUFFLED else (book.train, None)
    lengths = book.lengths
    loop = new_small_loop(settings, book.vocab_size, tokens, targets=targets, unk_id=lengths.unk_id)
    losses = deque[float](maxlen=LAST_STEPS)
    for event in train(loop):
        if isinstance(event, Step):
            losses.append(event.loss)
            progress.update(event.epoch / effort.epochs)
    model, start, streams = loop.model, book.start_token, default_streams(len(book.val))
    windows, next_tokens = shuffled(book.val, bptt, seed)
    return Trial(
        order,
        bptt,
        training=mean(losses),
        zero=evaluate_windows(model, book.val, lengths, bptt).loss,
        carried=evaluate_carried(model, book.val, lengths, start, streams).loss,
        shuffled=evaluate_carried(
            model, windows, lengths, start, streams, targets=next_tokens
        ).loss,
    )


def run(*, seed: int, quick: bool, tell: Tell) -> Finding:
    """Train in every order with every n, for equal numbers of tokens."""
    effort, book = QUICK if quick else FULL, embedded_book()
    progress = Progress(tell, [1] * len(effort.lengths) * len(ORDERS))
    trials = []
    for bptt, order in itertools.product(effort.lengths, ORDERS):
        progress.start(f"{order}, n = {bptt}")
        trials.append(run_trial(book, order, bptt, effort, seed, progress))
    return finding_of(trials, effort)


def finding_of(trials: Sequence[Trial], effort: Effort) -> Finding:
    """Return table, charts and results of the losses."""
    rows = [
        [str(t.bptt), t.order, *(f"{x:.4f}" for x in (t.training, t.zero, t.carried, t.shuffled))]
        for t in trials
    ]
    title = (
        f"Loss of an LSTM with {effort.hidden_size} units after {effort.epochs:g} epochs "
        "(nats per character)"
    )
    header = ["n", "trained", "train loss", "eval, zero", "eval, carried", "eval, shuffled"]
    zero_lines = _lines(trials, "zero")
    zero_lines["sequential, evaluated shuffled"] = _lines(trials, "shuffled")[SEQUENTIAL]
    return Finding(
        experiment=EXPERIMENT,
        tables=[Table(title, header, rows)],
        checks=_checks({(t.order, t.bptt): t for t in trials}),
        charts=[
            _chart("evaluated with carried state", _lines(trials, "carried")),
            _chart("evaluated from a zero state", zero_lines),
        ],
        data={"trials": [asdict(t) for t in trials]},
    )


def _lines(trials: Sequence[Trial], name: str) -> dict[str, Line]:
    """Return the losses in the field `name` over n, for each order."""
    return {o: [(t.bptt, getattr(t, name)) for t in trials if t.order == o] for o in ORDERS}


def _chart(title: str, lines: dict[str, Line]) -> Lines:
    return Lines(
        lines, title, "n, tokens per window", "validation loss (nats per character)", log_x=True
    )


def _checks(trials: dict[tuple[str, int], Trial]) -> list[Check]:
    lengths = sorted({bptt for _, bptt in trials})
    random, sequential, shuffled_order = (
        [trials[order, bptt] for bptt in lengths] for order in (RANDOM, SEQUENTIAL, SHUFFLED)
    )

    def at_both_ends(losses: Sequence[float], others: Sequence[float]) -> str:
        return (
            f"{compared(losses[0], others[0], 'nats')} at n = {lengths[0]} and "
            f"{compared(losses[-1], others[-1], 'nats')} at n = {lengths[-1]}"
        )

    zero = [t.zero for t in random], [t.zero for t in sequential]
    carried = [t.carried for t in sequential], [t.carried for t in random]
    wrong_state = [t.shuffled for t in sequential], [t.carried for t in sequential]
    wrong_training = [t.carried for t in shuffled_order], [t.carried for t in sequential]
    gains = [other - loss for loss, other in zip(*carried, strict=True)]
    return [
        Check(
            "Evaluated from a zero state, training in random order is [not] better than in order",
            f"its loss is {at_both_ends(*zero)}",
            all(loss < other for loss, other in zip(*zero, strict=True)),
        ),
        Check(
            "Evaluated with carried state, training in order is [not] better than in random order, "
            "most of all for short windows",
            f"its loss is {at_both_ends(*carried)}",
            gains[0] > 0 and gains[0] > max(gains[1:]),
        ),
        Check(
            "In evaluation, a state carried over shuffled windows is [not] worse than the true one",
            f"the loss is {at_both_ends(*wrong_state)}",
            all(loss > other for loss, other in zip(*wrong_state, strict=True)),
        ),
        Check(
            "Training in shuffled order with carried state is [not] worse than training in order",
            f"evaluated with carried state, the loss is {at_both_ends(*wrong_training)}",
            all(loss > other for loss, other in zip(*wrong_training, strict=True)),
        ),
    ]
