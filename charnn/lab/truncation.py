"""The cost of backpropagation without truncation, and the error of truncated gradients.

The loss of a batch depends on its own n tokens and, through the carried state, on all earlier
tokens. While the state is attached to the graph that computed it, ∂E_t/∂U = Σ_k ∂E_t/∂h_t ·
∂h_t/∂h_k · ∂h_k/∂U has a term for every k ≤ t: each batch adds its operations to one graph, which
is kept and traversed for every later batch, so that memory and time grow with the number of
batches. Detaching the state between batches keeps its value and ends the sum at the start of the
batch: truncated backpropagation through time (Williams and Peng, 1990), at constant cost. The
weights are not updated while the two are compared: PyTorch refuses to use a graph after an update
in place.

The error of truncation is measured as the cosine between the gradient of a long text in windows of
n, with the state detached between them, and its gradient without truncation. The claim: with
detached state the cost is constant, otherwise it grows; a larger n costs more memory and has a
smaller error.
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
from charnn.lab.autograd_graph import GraphMemory, count_operations
from charnn.lab.experiment import Check, Experiment, Finding, Progress, Table, Tell
from charnn.lab.small_models import Book, embedded_book, new_small_loop
from charnn.model.language_model import LanguageModel, detach
from charnn.model.loss import mean_nats
from charnn.training.events import Step
from charnn.training.loop import TrainLoop, train

CELL_NAMES: tuple[CellName, ...] = ("rnn", "lstm", "gru")
STATES = ("attached", "detached")
PART_COSTS = (
    5,
    0.2,
    1,
    1.5,
    2,
)  # relative durations of the two series of batches and the three cells
TRAINING_FRACTION = 0.5  # fraction of the time of a cell; the rest measures gradients
BATCH_SIZE, BPTT = 16, 20  # shape of the batches whose cost is measured
MAX_SECONDS = 20.0  # for the batches in one graph
TABLE_ROWS = 6
SPAN, ROWS = 256, 32  # length and number of the texts whose gradient is compared
LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MIN_COSINE = 0.99  # a truncated gradient with this cosine counts as equal
TOLERANCE = 0.01  # a cosine may fall by this as n grows and still count as growing
MIN_SLOWDOWN = 2.0  # time of the last attached batches, relative to detached ones
EXPERIMENT = Experiment(
    name="truncation",
    question="Why is the hidden state detached between batches, and what does that lose?",
    claim=(
        "While the state stays attached, every batch extends one graph of operations, so that "
        "memory and time grow with each batch. With detached state they are constant, but the "
        "gradient is truncated after the n tokens of a batch. A larger n has a smaller error and "
        "needs more memory."
    ),
    measured=(
        "First table: operations in the graph, memory that it holds, and time of each batch.\n"
        "Second table: the cosine of the angle between the truncated gradient of the recurrent "
        "weights W_hh and the full gradient (1 = same direction), and the memory of the graph."
    ),
    advice=(
        "charnn train always detaches. Choose --bptt so large that the cosine is near 1; a larger "
        "one needs more memory and improves the gradient little."
    ),
)


@dataclass(frozen=True)
class Effort:
    """Size of the experiment: bytes that a graph may hold, training steps before gradients."""

    max_bytes: int
    steps: int


FULL, QUICK = Effort(64_000_000, 300), Effort(16_000_000, 60)


@dataclass(frozen=True)
class Cost:
    """The cost of one batch: operations in its graph, bytes held by the graph, seconds."""

    operations: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class TruncatedGradient:
    """The cosine between the gradient truncated after n tokens and the full one; graph memory."""

    cell: CellName
    bptt: int
    cosine: float
    bytes: int


def batch_costs(
    model: LanguageModel, sampler: Sampler, max_bytes: int, *, detached: bool
) -> Iterator[Cost]:
    """Yield the cost of each batch, forward and backward, with the state detached or attached.

    Ends when the graph holds more than `max_bytes` or the batches have taken MAX_SECONDS.
    """
    memory, state = GraphMemory(), model.initial_state(BATCH_SIZE)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    begin = time.perf_counter()
    while memory.bytes < max_bytes and time.perf_counter() < begin + MAX_SECONDS:
        batch = sampler.next_batch()
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        started = time.perf_counter()
        with memory.tracking():
            logits, state = model(inputs, state)
            loss = mean_nats(logits, targets)
        forward = time.perf_counter() - started
        operations, size = count_operations(loss), memory.bytes
        started = time.perf_counter()
        torch.autograd.grad(loss, weights, retain_graph=not detached)
        backward = time.perf_counter() - started
        state = detach(state) if detached else state
        yield Cost(operations, size, forward + backward)


def run(*, seed: int, quick: bool, tell: Tell) -> Finding:
    """Measure batches with attached and with detached state, then truncated gradients."""
    effort, book = QUICK if quick else FULL, embedded_book()
    progress = Progress(tell, PART_COSTS)
    progress.start("batches with attached state")
    new = _new_loop(book, "rnn", 1, seed)
    attached = []
    for cost in batch_costs(new.model, new.sampler, effort.max_bytes, detached=False):
        attached.append(cost)
        progress.update(min(1.0, cost.bytes / effort.max_bytes) ** 2)  # each takes longer
    progress.start("batches with detached state")
    new = _new_loop(book, "rnn", 1, seed)
    costs = batch_costs(new.model, new.sampler, effort.max_bytes, detached=True)
    detached = list(itertools.islice(costs, len(attached)))
    gradients: list[TruncatedGradient] = []
    for cell in CELL_NAMES:
        progress.start(f"truncated gradients, {cell.upper()}")
        loop = _new_loop(book, cell, effort.steps, seed)
        for event in train(loop):
            if isinstance(event, Step):
                progress.update(TRAINING_FRACTION * event.step / effort.steps)
        gradients += truncated_gradients(loop.model, texts(book.val), LENGTHS)
    return finding_of(attached, detached, gradients, effort)


def _new_loop(book: Book, cell: CellName, steps: int, seed: int) -> TrainLoop:
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
    return new_small_loop(settings, book.vocab_size, book.train, unk_id=book.lengths.unk_id)


def texts(tokens: Ids) -> Tensor:
    """Return the first ROWS texts of SPAN tokens, (ROWS, SPAN + 1), which overlap by one token."""
    starts = np.arange(0, ROWS * SPAN, SPAN)
    return torch.from_numpy(tokens[starts[:, None] + np.arange(SPAN + 1)].astype(np.int64))


def truncated_gradients(
    model: LanguageModel, tokens: Tensor, lengths: Sequence[int]
) -> list[TruncatedGradient]:
    """Compare the gradient of W_hh on tokens (B, T + 1) truncated at each length with the full."""
    full, _ = gradient(model, tokens, tokens.shape[1] - 1)
    results = []
    for bptt in lengths:
        truncated, size = gradient(model, tokens, bptt)
        similarity = cosine(truncated, full)
        results.append(TruncatedGradient(model.config.cell, bptt, similarity, size))
    return results


def gradient(model: LanguageModel, tokens: Tensor, bptt: int) -> tuple[Tensor, int]:
    """Return ∂E/∂W_hh on tokens (B, T + 1), with the state detached every `bptt`; peak memory.

    E is the mean loss; the peak is that of the graph, in bytes.
    """
    weight = model.recurrent_layers()[0].weight_hh
    total, peak, memory = torch.zeros_like(weight), 0, GraphMemory()
    state = model.initial_state(len(tokens))
    span = tokens.shape[1] - 1
    for begin in range(0, span, bptt):
        window = tokens[:, begin : min(begin + bptt, span) + 1]
        with memory.tracking():
            logits, state = model(window[:, :-1], state)
            loss = mean_nats(logits, window[:, 1:]) * (window.shape[1] - 1) / span
        peak = max(peak, memory.bytes)
        total += torch.autograd.grad(loss, weight)[0]
        state = detach(state)
    return total, peak


def cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine of the angle between two gradients."""
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def finding_of(
    attached: Sequence[Cost],
    detached: Sequence[Cost],
    gradients: Sequence[TruncatedGradient],
    effort: Effort,
) -> Finding:
    """Return tables, charts and results of the measurements."""
    memory = {
        name: [(i, cost.bytes / 1e6) for i, cost in enumerate(costs, 1)]
        for name, costs in (("state attached", attached), ("state detached", detached))
    }
    lines: dict[str, Line] = {
        cell.upper(): [(g.bptt, g.cosine) for g in gradients if g.cell == cell]
        for cell in CELL_NAMES
    }
    return Finding(
        experiment=EXPERIMENT,
        tables=[_table_of_costs(attached, detached, effort), _table_of_gradients(gradients)],
        checks=[*_checks_of_costs(attached, detached), *_checks_of_gradients(gradients)],
        charts=[
            Lines(memory, "memory of the graph", "batch", "MB"),
            Lines(
                lines,
                "error of truncated gradients",
                "n, tokens per batch",
                "cosine with the full gradient of W_hh",
                log_x=True,
            ),
        ],
        data={
            "attached": [asdict(cost) for cost in attached],
            "detached": [asdict(cost) for cost in detached],
            "gradients": [asdict(gradient) for gradient in gradients],
        },
    )


def _table_of_costs(attached: Sequence[Cost], detached: Sequence[Cost], effort: Effort) -> Table:
    shown = np.linspace(0, len(attached) - 1, TABLE_ROWS).astype(int).tolist()
    rows = [
        [
            f"{i + 1}",
            *(f"{cost.operations:,}" for cost in (attached[i], detached[i])),
            *(humanize.size(cost.bytes) for cost in (attached[i], detached[i])),
            *(f"{1000 * cost.seconds:.1f} ms" for cost in (attached[i], detached[i])),
        ]
        for i in shown
    ]
    names = ("operations", "memory", "time")
    header = ["batch", *(f"{name} {state}" for name in names for state in STATES)]
    title = (
        f"RNN, {BATCH_SIZE} × {BPTT} tokens per batch, until the attached graph holds "
        f"{humanize.size(effort.max_bytes)}"
    )
    return Table(title, header, rows)


def _table_of_gradients(gradients: Sequence[TruncatedGradient]) -> Table:
    by_length = {(g.bptt, g.cell): g for g in gradients}
    rows = [
        [
            str(bptt),
            *(f"{by_length[bptt, cell].cosine:.4f}" for cell in CELL_NAMES),
            *(humanize.size(by_length[bptt, cell].bytes) for cell in CELL_NAMES),
        ]
        for bptt in dict.fromkeys(g.bptt for g in gradients)
    ]
    names = [cell.upper() for cell in CELL_NAMES]
    title = f"Cosine with the full gradient over {SPAN} tokens"
    return Table(title, ["n", *names, *(f"{name} memory" for name in names)], rows)


def _checks_of_costs(attached: Sequence[Cost], detached: Sequence[Cost]) -> list[Check]:
    first, last = attached[0], attached[-1]
    slowdown = _late_seconds(attached) / _late_seconds(detached)
    return [
        Check(
            "With attached state, memory and time [do not] grow with every batch",
            f"after {len(attached)} batches the graph has {last.operations:,} operations and "
            f"{humanize.size(last.bytes)}, {first.operations:,} and {humanize.size(first.bytes)} "
            f"after one, and a batch takes {slowdown:.1f} times as long as with detached state",
            last.operations > len(attached) / 2 * first.operations
            and last.bytes > len(attached) / 2 * first.bytes
            and slowdown > MIN_SLOWDOWN,
        ),
        Check(
            "With detached state, the graph is [not] of constant size",
            f"it has {detached[0].operations:,} operations and "
            f"{humanize.size(detached[0].bytes)} after one batch, {detached[-1].operations:,} and "
            f"{humanize.size(detached[-1].bytes)} after {len(detached)}",
            len({(cost.operations, cost.bytes) for cost in detached}) == 1,
        ),
    ]


def _late_seconds(costs: Sequence[Cost]) -> float:
    """Return the median time of a batch in the last quarter."""
    return median(cost.seconds for cost in costs[-max(1, len(costs) // 4) :])


def _checks_of_gradients(gradients: Sequence[TruncatedGradient]) -> list[Check]:
    by_cell = {cell: [g for g in gradients if g.cell == cell] for cell in CELL_NAMES}
    shortest = [of_cell[0].cosine for of_cell in by_cell.values()]
    sufficient = {
        cell: next(g.bptt for g in of_cell if g.cosine >= MIN_COSINE)
        for cell, of_cell in by_cell.items()
    }
    memory_ratio = min(of_cell[-1].bytes / of_cell[0].bytes for of_cell in by_cell.values())
    first, last = gradients[0].bptt, gradients[-1].bptt
    reached = ", ".join(f"{bptt} ({cell.upper()})" for cell, bptt in sufficient.items())
    return [
        Check(
            "Truncated gradients [do not] come closer to the full gradient as n grows",
            f"the cosine is {min(shortest):.2f} to {max(shortest):.2f} at n = {first}, and "
            f"{MIN_COSINE} is reached at n = {reached}",
            max(shortest) < MIN_COSINE
            and all(
                later.cosine > earlier.cosine - TOLERANCE
                for of_cell in by_cell.values()
                for earlier, later in itertools.pairwise(of_cell)
            ),
        ),
        Check(
            "The memory of the graph is [not] larger with a larger n",
            f"n = {last} takes {memory_ratio:.0f} times as much as n = {first}",
            memory_ratio > last / first / 4,
        ),
    ]
