"""What it costs to let gradients run back without end, and what is lost where they are cut.

The loss of a batch depends on its own n tokens and, through the carried state, on all before it.
While the state is still attached to the graph that made it, ∂E_t/∂U = Σ_k ∂E_t/∂h_t · ∂h_t/∂h_k ·
∂h_k/∂U runs over every k ≤ t: each batch adds its operations to one graph, which is kept and
walked once more for every batch that follows, so that memory and time grow with the number of
batches read. Detaching the state between batches keeps its value and cuts the sum off at the
batch's own beginning: truncated backpropagation through time (Williams and Peng, 1990), at a cost
that does not grow. The weights stand still while the two are compared; an update in place would
spoil what the kept graph has yet to be asked for, and PyTorch refuses it.

What the cut loses: the cosine between the gradient of a long text in windows of n, the state
detached between them, and its gradient in one piece. The claim: detached, the cost is flat, else
it grows; a larger n costs more memory and sees further.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor

from charnn.arrays import Ids
from charnn.config import CellName
from charnn.data.samplers import Sampler
from charnn.display import humanize
from charnn.display.charts import Lines
from charnn.display.learning_curves import Line
from charnn.lab.autograd_graph import Held, operations
from charnn.lab.experiment import Check, Finding, Table, Tell, verdict_of
from charnn.lab.small_models import Book, embedded_book, new_training
from charnn.model.language_model import LanguageModel, detach
from charnn.model.loss import mean_nats
from charnn.training.loop import TrainLoop, train

CELLS: tuple[CellName, ...] = ("rnn", "lstm", "gru")
BATCH_SIZE, BPTT = 16, 20  # of the batches whose cost is measured
MOST_SECONDS = 20.0  # of batches in one graph
SHOWN = 6  # batches in the table
SPAN, ROWS = 256, 32  # tokens in one piece, and pieces, whose gradient is compared
LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
NEAR = 0.99  # a cosine that is as good as the whole gradient
SLIP = 0.01  # by which a cosine may fall as n grows, and still count as growing
SLOWER = 2.0  # times that batches in a growing graph must slow down, beside detached ones


@dataclass(frozen=True)
class Effort:
    """How much is tried: bytes that a graph may hold, steps of training before gradients."""

    most_bytes: int
    steps: int


FULL, QUICK = Effort(64_000_000, 300), Effort(16_000_000, 60)


@dataclass(frozen=True)
class Cost:
    """What one batch cost: operations in its graph, bytes that these hold, seconds."""

    operations: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Likeness:
    """A gradient cut off after n tokens beside the whole one, and what its graph holds."""

    cell: CellName
    bptt: int
    cosine: float
    bytes: int


def costs(model: LanguageModel, sampler: Sampler, most_bytes: int, *, cut: bool) -> Iterator[Cost]:
    """What batch after batch costs, forward and backward, with or without detaching the state.

    Ends where the graph holds more than `most_bytes` or the batches have taken MOST_SECONDS.
    """
    held, state = Held(), model.initial_state(BATCH_SIZE)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    begin = time.perf_counter()
    while held.bytes < most_bytes and time.perf_counter() < begin + MOST_SECONDS:
        batch = sampler.next_batch()
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        started = time.perf_counter()
        with held.watching():
            logits, state = model(inputs, state)
            loss = mean_nats(logits, targets)
        forward = time.perf_counter() - started
        size, bytes_held = operations(loss), held.bytes
        started = time.perf_counter()
        torch.autograd.grad(loss, weights, retain_graph=not cut)
        backward = time.perf_counter() - started
        state = detach(state) if cut else state
        yield Cost(size, bytes_held, forward + backward)


def run(*, seed: int, quick: bool, tell: Tell) -> Finding:
    """Measure batches in one graph and in graphs of their own, then gradients cut off after n."""
    effort, book = QUICK if quick else FULL, embedded_book()
    tell("batches whose state stays attached, then detached")
    fresh = _training(book, "rnn", 1, seed)
    kept = list(costs(fresh.model, fresh.sampler, effort.most_bytes, cut=False))
    fresh = _training(book, "rnn", 1, seed)
    detached = costs(fresh.model, fresh.sampler, effort.most_bytes, cut=True)
    cut = list(itertools.islice(detached, len(kept)))
    found: list[Likeness] = []
    for cell in CELLS:
        training = _training(book, cell, effort.steps, seed)
        for event in train(training):
            tell(f"{cell}: step {event.step} of {effort.steps}, then its gradients")
        found += likenesses(training.model, pieces(book.val), LENGTHS)
    return judged(kept, cut, found, effort)


def _training(book: Book, cell: CellName, steps: int, seed: int) -> TrainLoop:
    settings = {
        "cell": cell,
        "hidden_size": 64,
        "embedding_dim": 32,
        "batch_size": BATCH_SIZE,
        "bptt": BPTT,
        "steps": steps,
        "optimizer": "adamw",
        "lr": 1e-2,
        "seed": seed,
    }
    return new_training(settings, book.vocab_size, book.train, unk_id=book.lengths.unk_id)


def pieces(tokens: Ids) -> Tensor:
    """The first ROWS pieces of a text, (ROWS, SPAN + 1); each ends with the next one's first."""
    starts = np.arange(0, ROWS * SPAN, SPAN)
    return torch.from_numpy(tokens[starts[:, None] + np.arange(SPAN + 1)].astype(np.int64))


def likenesses(model: LanguageModel, tokens: Tensor, lengths: Sequence[int]) -> list[Likeness]:
    """The gradient of W_hh on tokens (B, T + 1), cut off after each of the lengths, beside T's."""
    found = {bptt: gradient(model, tokens, bptt) for bptt in lengths}
    whole, _ = gradient(model, tokens, tokens.shape[1] - 1)
    return [
        Likeness(model.config.cell, bptt, cosine(cut, whole), size)
        for bptt, (cut, size) in found.items()
    ]


def gradient(model: LanguageModel, tokens: Tensor, bptt: int) -> tuple[Tensor, int]:
    """∂E/∂W_hh of the mean loss of tokens (B, T + 1), detached every `bptt`; bytes held at most."""
    weight = model.recurrent_layers()[0].weight_hh
    total, most, held = torch.zeros_like(weight), 0, Held()
    state = model.initial_state(len(tokens))
    span = tokens.shape[1] - 1
    for begin in range(0, span, bptt):
        window = tokens[:, begin : min(begin + bptt, span) + 1]
        with held.watching():
            logits, state = model(window[:, :-1], state)
            loss = mean_nats(logits, window[:, 1:]) * (window.shape[1] - 1) / span
        most = max(most, held.bytes)
        total += torch.autograd.grad(loss, weight)[0]
        state = detach(state)
    return total, most


def cosine(a: Tensor, b: Tensor) -> float:
    """Of the angle between two gradients."""
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def judged(
    kept: Sequence[Cost], cut: Sequence[Cost], found: Sequence[Likeness], effort: Effort
) -> Finding:
    """Tables, charts and verdict of what was measured; `kept` and `cut` are batch by batch."""
    checks = [*_checks_of_costs(kept, cut), *_checks_of_gradients(found)]
    memory = {
        name: [(i, cost.bytes / 1e6) for i, cost in enumerate(some, 1)]
        for name, some in (("state attached", kept), ("state detached", cut))
    }
    lines: dict[str, Line] = {
        cell: [(f.bptt, f.cosine) for f in found if f.cell == cell] for cell in CELLS
    }
    return Finding(
        tables=[_table_of_costs(kept, cut, effort), _table_of_gradients(found)],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[
            Lines(memory, "memory that the graph holds", "batch", "MB"),
            Lines(
                lines,
                "gradient cut off after n tokens",
                "n, tokens between two detaches",
                "cosine with the whole gradient of W_hh",
                log_x=True,
            ),
        ],
        data={
            "attached": [asdict(cost) for cost in kept],
            "detached": [asdict(cost) for cost in cut],
            "gradients": [asdict(likeness) for likeness in found],
        },
    )


def _table_of_costs(kept: Sequence[Cost], cut: Sequence[Cost], effort: Effort) -> Table:
    shown = np.linspace(0, len(kept) - 1, SHOWN).astype(int).tolist()
    rows = [
        [
            f"{i + 1}",
            *(f"{cost.operations:,}" for cost in (kept[i], cut[i])),
            *(humanize.size(cost.bytes) for cost in (kept[i], cut[i])),
            *(f"{1000 * cost.seconds:.1f} ms" for cost in (kept[i], cut[i])),
        ]
        for i in shown
    ]
    names = ("operations", "memory", "time")
    header = [
        "batch",
        *(f"{name}, {state}" for name in names for state in ("attached", "detached")),
    ]
    title = (
        f"state attached or detached, RNN, {BATCH_SIZE} × {BPTT} tokens a batch, "
        f"until one graph holds {humanize.size(effort.most_bytes)}"
    )
    return Table(title, header, rows)


def _table_of_gradients(found: Sequence[Likeness]) -> Table:
    by_place = {(f.bptt, f.cell): f for f in found}
    rows = [
        [
            str(bptt),
            *(f"{by_place[bptt, cell].cosine:.4f}" for cell in CELLS),
            *(humanize.size(by_place[bptt, cell].bytes) for cell in CELLS),
        ]
        for bptt in dict.fromkeys(f.bptt for f in found)
    ]
    header = ["n", *CELLS, *(f"{cell} memory" for cell in CELLS)]
    return Table(f"cosine with the gradient of W_hh over {SPAN} tokens in one piece", header, rows)


def _checks_of_costs(kept: Sequence[Cost], cut: Sequence[Cost]) -> list[Check]:
    first, last = kept[0], kept[-1]
    slower = _slowdown(kept) / _slowdown(cut)
    return [
        Check(
            f"attached for {len(kept)} batches the graph grows from {first.operations:,} to "
            f"{last.operations:,} operations and from {humanize.size(first.bytes)} to "
            f"{humanize.size(last.bytes)}, and a batch becomes {slower:.1f} times as slow",
            last.operations > len(kept) / 2 * first.operations
            and last.bytes > len(kept) / 2 * first.bytes
            and slower > SLOWER,
        ),
        Check(
            f"detached it stays at {cut[-1].operations:,} operations and "
            f"{humanize.size(cut[-1].bytes)}",
            len({(cost.operations, cost.bytes) for cost in cut}) == 1,
        ),
    ]


def _slowdown(measured: Sequence[Cost]) -> float:
    """How many times as long a batch takes in the last quarter as in the first."""
    quarter = max(1, len(measured) // 4)
    first, last = measured[:quarter], measured[-quarter:]
    return median(cost.seconds for cost in last) / median(cost.seconds for cost in first)


def _checks_of_gradients(found: Sequence[Likeness]) -> list[Check]:
    by_cell = {cell: [f for f in found if f.cell == cell] for cell in CELLS}
    shortest = [some[0].cosine for some in by_cell.values()]
    near = {cell: next(f.bptt for f in some if f.cosine >= NEAR) for cell, some in by_cell.items()}
    dearer = min(some[-1].bytes / some[0].bytes for some in by_cell.values())
    return [
        Check(
            f"a gradient cut off after {found[0].bptt} token has a cosine of "
            f"{min(shortest):.2f} to {max(shortest):.2f} with the whole one, and it grows with n "
            f"to {NEAR} at " + ", ".join(f"{bptt} ({cell})" for cell, bptt in near.items()),
            max(shortest) < NEAR
            and all(
                later.cosine > earlier.cosine - SLIP
                for some in by_cell.values()
                for earlier, later in itertools.pairwise(some)
            ),
        ),
        Check(
            f"which costs memory: {dearer:.0f} times as much at n = {found[-1].bptt}",
            dearer > found[-1].bptt / found[0].bptt / 4,
        ),
    ]
