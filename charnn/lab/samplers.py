"""Random against sequential sampling at equal tokens, and what carrying the state is worth.

A text is cut into windows of n tokens. Sequential: the windows that follow one another are read
one after the other, the hidden state carried (and detached) in between, so that h_t depends on all
of x_1 … x_t although gradients reach n steps. Random: windows in random order, each from h = 0, so
that the first token of a window is predicted from nothing and the mean over a window pays for it
(Zhang and others, "Dive into deep learning", 2021, §8.3, has both). Either way every token is a
target once an epoch, and a step costs the same.

The claims: each order is ahead where the state at evaluation is as it was in training, all the
more the shorter the windows are; and a state carried over a break, from one window into another
that does not follow it, is worse than the true one, in evaluation and in training (shuffled
windows whose state is carried all the same, an easy mistake).
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
from charnn.lab.experiment import Check, Finding, Table, Tell, verdict_of
from charnn.lab.small_models import Book, embedded_book, new_training
from charnn.training.events import Step
from charnn.training.loop import train

LENGTHS = (4, 16, 64)  # n
TOKENS = 2048  # in a step, whatever n is
LAST_STEPS = 20  # whose mean is the training loss
RANDOM, SEQUENTIAL, SHUFFLED = "random, zeroed", "sequential, carried", "shuffled, carried"
ORDERS: dict[str, SamplerName] = {
    RANDOM: "random",
    SEQUENTIAL: "sequential",
    SHUFFLED: "sequential",  # of a text whose windows have been shuffled before
}


@dataclass(frozen=True)
class Effort:
    """How much is tried: width of the LSTM, passes over the book."""

    hidden_size: int
    epochs: float


FULL, QUICK = Effort(128, 4.0), Effort(64, 2.0)


@dataclass(frozen=True)
class Trial:
    """One training run: its loss, and that of the validation split read in three ways.

    From zero in each window of n; with the state carried through the text; and with the state
    carried from window to window of the text in a shuffled order.
    """

    order: str
    bptt: int
    training: float
    zeroed: float
    carried: float
    broken: float


def shuffled(tokens: Ids, window: int, seed: int) -> tuple[Integers, Integers]:
    """The text with its windows in random order, and beside it what to predict at each place.

    That is what follows in the text, also after the last token of a window; the first token of
    all is not predicted.
    """
    count = (len(tokens) - 1) // window
    starts = window * np.random.default_rng(seed).permutation(count)
    places = (starts[:, None] + np.arange(window)).ravel()
    inputs, targets = tokens[places].astype(np.int64), tokens[places + 1].astype(np.int64)
    # One token more: what is predicted stands beside the token after what it is predicted from.
    return np.append(inputs, tokens[:1]), np.append([-1], targets)


def trial(book: Book, order: str, bptt: int, effort: Effort, seed: int, tell: Tell) -> Trial:
    """Train an LSTM in one of the orders, and score it in all three ways."""
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
    training = new_training(
        settings, book.vocab_size, tokens, targets=targets, unk_id=lengths.unk_id
    )
    losses = deque[float](maxlen=LAST_STEPS)
    for event in train(training):
        if isinstance(event, Step):
            losses.append(event.loss)
            tell(f"n = {bptt}, {order}: step {event.step} of {event.steps}")
    model, start, streams = training.model, book.start_token, default_streams(len(book.val))
    pieces, beside = shuffled(book.val, bptt, seed)
    return Trial(
        order,
        bptt,
        training=mean(losses),
        zeroed=evaluate_windows(model, book.val, lengths, bptt).loss,
        carried=evaluate_carried(model, book.val, lengths, start, streams).loss,
        broken=evaluate_carried(model, pieces, lengths, start, streams, targets=beside).loss,
    )


def run(*, seed: int, quick: bool, tell: Tell) -> Finding:
    """Train in every order with every n, at equal tokens."""
    effort, book = QUICK if quick else FULL, embedded_book()
    return judged(
        [
            trial(book, order, bptt, effort, seed, tell)
            for bptt, order in itertools.product(LENGTHS, ORDERS)
        ],
        effort,
    )


def judged(trials: Sequence[Trial], effort: Effort) -> Finding:
    """Table, charts and verdict of the losses measured."""
    checks = _checks({(t.order, t.bptt): t for t in trials})
    rows = [
        [str(t.bptt), t.order, *(f"{x:.4f}" for x in (t.training, t.zeroed, t.carried, t.broken))]
        for t in trials
    ]
    title = (
        f"loss of an LSTM of {effort.hidden_size} after {effort.epochs:g} epochs (nats a character)"
    )
    header = ["n", "trained", "training", "val, zeroed", "val, carried", "val, over breaks"]
    cold = _lines(trials, "zeroed")
    cold["sequential, over breaks"] = _lines(trials, "broken")[SEQUENTIAL]
    return Finding(
        tables=[Table(title, header, rows)],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[
            _chart("evaluated with carried state", _lines(trials, "carried")),
            _chart("evaluated from zero, or over breaks", cold),
        ],
        data={"trials": [asdict(t) for t in trials]},
    )


def _lines(trials: Sequence[Trial], name: str) -> dict[str, Line]:
    """The losses called `name` over n, for each order."""
    return {o: [(t.bptt, getattr(t, name)) for t in trials if t.order == o] for o in ORDERS}


def _chart(title: str, lines: dict[str, Line]) -> Lines:
    return Lines(lines, title, "n, tokens in a window", "validation loss (nats)", log_x=True)


def _checks(trials: dict[tuple[str, int], Trial]) -> list[Check]:
    lengths = sorted({bptt for _, bptt in trials})
    shortest, longest = lengths[0], lengths[-1]
    by_order = {order: [trials[order, bptt] for bptt in lengths] for order in ORDERS}
    rows = list(zip(*by_order.values(), strict=True))
    cold = [sequential.zeroed - random.zeroed for random, sequential, _ in rows]
    warm = [random.carried - sequential.carried for random, sequential, _ in rows]
    foreign = [t.broken - t.carried for t in by_order[SEQUENTIAL]]
    mistaken = [wrong.carried - right.carried for _, right, wrong in rows]
    span = f"(n = {shortest}) to {{:.3f}} (n = {longest})"
    return [
        Check(
            f"from a state of zero random sampling is ahead, by {cold[0]:.3f} nats "
            + span.format(cold[-1]),
            min(cold) > 0,
        ),
        Check(
            f"with carried state sequential sampling is ahead at n = {shortest}, by {warm[0]:.3f}, "
            f"and by less where windows are longer ({warm[-1]:.3f} at n = {longest})",
            warm[0] > 0 and warm[0] > max(warm[1:]),
        ),
        Check(
            f"a state carried over breaks costs {foreign[0]:.3f} " + span.format(foreign[-1]),
            min(foreign) > 0,
        ),
        Check(
            f"and training over them {mistaken[0]:.3f} " + span.format(mistaken[-1]),
            min(mistaken) > 0,
        ),
    ]
