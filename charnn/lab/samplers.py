"""Random against sequential batches at equal numbers of tokens, and the effect of carried state.

A text is cut into windows of n tokens. Sequential: consecutive windows are read in order, and the
hidden state is carried (and detached) between them, so that h_t depends on all of x_1 … x_t
although gradients reach only n steps. Random: windows are read in random order, each from h = 0, so
that the first tokens of a window are predicted from little context (Zhang and others, "Dive into
deep learning", 2021, §8.3, has both). Both read every token once per epoch, and a step costs the
same.

The claims: each order has the lower loss if the state in evaluation is as in training, by more for
shorter windows. And a state carried across a break, into a window that does not follow, is worse
than the true state, in evaluation and in training (shuffled windows with carried state are an easy
mistake).
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
from charnn.lab.small_models import Book, embedded_book, new_small_loop
from charnn.training.events import Step
from charnn.training.loop import train

LENGTHS = (4, 16, 64)  # n
TOKENS = 2048  # per step, for every n
LAST_STEPS = 20  # the training loss is their mean
RANDOM, SEQUENTIAL, SHUFFLED = "random, zeroed", "sequential, carried", "shuffled, carried"
ORDERS: dict[str, SamplerName] = {
    RANDOM: "random",
    SEQUENTIAL: "sequential",
    SHUFFLED: "sequential",  # on a text whose windows were shuffled before
}


@dataclass(frozen=True)
class Effort:
    """Size of the experiment: width of the LSTM, epochs."""

    hidden_size: int
    epochs: float


FULL, QUICK = Effort(128, 4.0), Effort(64, 2.0)


@dataclass(frozen=True)
class Trial:
    """One training run: its training loss and three validation losses.

    `zeroed`: from a zero state in each window of n; `carried`: with the state carried through the
    text; `broken`: with the state carried through the windows in shuffled order.
    """

    order: str
    bptt: int
    training: float
    zeroed: float
    carried: float
    broken: float


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


def run_trial(book: Book, order: str, bptt: int, effort: Effort, seed: int, tell: Tell) -> Trial:
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
            tell(f"n = {bptt}, {order}: step {event.step} of {event.steps}")
    model, start, streams = loop.model, book.start_token, default_streams(len(book.val))
    windows, next_tokens = shuffled(book.val, bptt, seed)
    return Trial(
        order,
        bptt,
        training=mean(losses),
        zeroed=evaluate_windows(model, book.val, lengths, bptt).loss,
        carried=evaluate_carried(model, book.val, lengths, start, streams).loss,
        broken=evaluate_carried(model, windows, lengths, start, streams, targets=next_tokens).loss,
    )


def run(*, seed: int, quick: bool, tell: Tell) -> Finding:
    """Train in every order with every n, for equal numbers of tokens."""
    effort, book = QUICK if quick else FULL, embedded_book()
    return finding_of(
        [
            run_trial(book, order, bptt, effort, seed, tell)
            for bptt, order in itertools.product(LENGTHS, ORDERS)
        ],
        effort,
    )


def finding_of(trials: Sequence[Trial], effort: Effort) -> Finding:
    """Return table, charts and verdict of the losses."""
    checks = _checks({(t.order, t.bptt): t for t in trials})
    rows = [
        [str(t.bptt), t.order, *(f"{x:.4f}" for x in (t.training, t.zeroed, t.carried, t.broken))]
        for t in trials
    ]
    title = (
        f"loss of an LSTM of {effort.hidden_size} after {effort.epochs:g} epochs (nats a character)"
    )
    header = ["n", "trained", "training", "val, zeroed", "val, carried", "val, over breaks"]
    zeroed_lines = _lines(trials, "zeroed")
    zeroed_lines["sequential, over breaks"] = _lines(trials, "broken")[SEQUENTIAL]
    return Finding(
        tables=[Table(title, header, rows)],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[
            _chart("evaluated with carried state", _lines(trials, "carried")),
            _chart("evaluated from zero, or over breaks", zeroed_lines),
        ],
        data={"trials": [asdict(t) for t in trials]},
    )


def _lines(trials: Sequence[Trial], name: str) -> dict[str, Line]:
    """Return the losses in the field `name` over n, for each order."""
    return {o: [(t.bptt, getattr(t, name)) for t in trials if t.order == o] for o in ORDERS}


def _chart(title: str, lines: dict[str, Line]) -> Lines:
    return Lines(lines, title, "n, tokens in a window", "validation loss (nats)", log_x=True)


def _checks(trials: dict[tuple[str, int], Trial]) -> list[Check]:
    lengths = sorted({bptt for _, bptt in trials})
    shortest, longest = lengths[0], lengths[-1]
    by_order = {order: [trials[order, bptt] for bptt in lengths] for order in ORDERS}
    rows = list(zip(*by_order.values(), strict=True))
    zeroed_gain = [sequential.zeroed - random.zeroed for random, sequential, _ in rows]
    carried_gain = [random.carried - sequential.carried for random, sequential, _ in rows]
    break_cost = [t.broken - t.carried for t in by_order[SEQUENTIAL]]
    training_cost = [wrong.carried - right.carried for _, right, wrong in rows]
    span = f"(n = {shortest}) to {{:.3f}} (n = {longest})"
    return [
        Check(
            f"from a state of zero random sampling is ahead, by {zeroed_gain[0]:.3f} nats "
            + span.format(zeroed_gain[-1]),
            min(zeroed_gain) > 0,
        ),
        Check(
            f"with carried state sequential sampling is ahead at n = {shortest}, "
            f"by {carried_gain[0]:.3f}, and by less where windows are longer "
            f"({carried_gain[-1]:.3f} at n = {longest})",
            carried_gain[0] > 0 and carried_gain[0] > max(carried_gain[1:]),
        ),
        Check(
            f"a state carried over breaks costs {break_cost[0]:.3f} " + span.format(break_cost[-1]),
            min(break_cost) > 0,
        ),
        Check(
            f"and training over them {training_cost[0]:.3f} " + span.format(training_cost[-1]),
            min(training_cost) > 0,
        ),
    ]
