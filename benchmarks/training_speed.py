"""Compare the speed of charnn's training step with a bare PyTorch loop; print a Markdown table.

    python benchmarks/training_speed.py [--cells lstm,gru,rnn] [--precisions float32,bfloat16] …

The bare loop is hand-written: nn.Embedding, nn.LSTM (nn.GRU, nn.RNN), nn.Linear, cross-entropy,
clipping by the global norm, fused AdamW, detached state; its batches are tensors. charnn's side is
`TrainLoop.update` as `charnn train --optimizer adamw --dropout 0` calls it, including the sampler
and the counters. Both have the same shape, precision, device and threads. They alternate in one
process, and each goes first in every other round; the ratio is the median of the ratios of the
rounds.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
from machine import print_table, spread, title

from charnn.commands.threads import set_up_torch

set_up_torch()  # before torch is imported, as in `charnn train`

import torch  # noqa: E402
from torch import nn  # noqa: E402

from charnn.config import ModelConfig, TrainConfig  # noqa: E402
from charnn.data.samplers import SequentialSampler  # noqa: E402
from charnn.errors import UsageError  # noqa: E402
from charnn.model import device as devices  # noqa: E402
from charnn.model.language_model import LanguageModel  # noqa: E402
from charnn.training.benchmark import measure_machine  # noqa: E402
from charnn.training.loop import TrainLoop  # noqa: E402
from charnn.training.optimizers import BETAS  # noqa: E402

VOCABULARY = 65
TARGET = 0.97
WARM_UP = 3  # updates that are not timed
FUSED = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
Update = Callable[[], object]


def main() -> None:
    options = parsed()
    devices.configure(options.threads, deterministic=False)
    device = devices.choose_device(options.device)
    where = str(device) if device.type == "cpu" else torch.cuda.get_device_name(device)
    shape = (
        f"{options.num_layers}×{options.hidden_size}, embedding {options.embedding_dim}, "
        f"batch {options.batch_size}, bptt {options.bptt}"
    )
    remarks = (f"{torch.get_num_threads()} threads", f"on {where}")
    print(f"{title('numpy', 'torch', remarks=remarks)}\n\n{shape}\n")
    header = ("cell", "precision", "charnn, tokens/s", "bare loop, tokens/s", "ratio", "target")
    print_table(header, rows(options, device))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of a training step.")
    parser.add_argument("--cells", default="lstm,gru,rnn")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--num-layers", type=int, default=1)
    parser.add_argument("--embedding-dim", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--bptt", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0, help="Seconds per side and round.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


def rows(options: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, ...]]:
    cells, precisions = options.cells.split(","), options.precisions.split(",")
    for cell, precision in itertools.product(cells, precisions):
        try:
            settings = {"precision": precision, "device": str(device), "cell": cell}
            measure_machine(TrainConfig(**settings), some_tokens(options), VOCABULARY)
        except UsageError:
            yield cell, precision, "not available on this machine", "", "", ""
            continue
        arithmetic = devices.Arithmetic(device, precision)
        sides = charnn_update(options, cell, arithmetic), bare_update(options, cell, arithmetic)
        ours, bare = rates(sides, options, device)
        ratios = [own / other for own, other in zip(ours, bare, strict=True)]
        yield cell, precision, spread(ours, 0), spread(bare, 0), spread(ratios, 3), f"≥ {TARGET}"


def rates(
    sides: tuple[Update, Update], options: argparse.Namespace, device: torch.device
) -> tuple[list[float], list[float]]:
    """Return the tokens per second of both sides in each round; all rounds are equally long."""
    for side in sides:
        seconds_of(side, WARM_UP, device)
    updates = max(1, round(options.seconds * 5 / seconds_of(sides[1], 5, device)))
    tokens = updates * options.batch_size * options.bptt
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(options.rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            taken[which].append(tokens / seconds_of(sides[which], updates, device))
    return taken


def seconds_of(update: Update, count: int, device: torch.device) -> float:
    finish(device)
    start = time.perf_counter()
    for _ in range(count):
        update()
    finish(device)
    return time.perf_counter() - start


def finish(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def some_tokens(options: argparse.Namespace) -> np.ndarray:
    """Return random tokens for 200 whole batches."""
    size = options.batch_size * options.bptt * 200 + 1
    return np.random.default_rng(1).integers(0, VOCABULARY, size).astype(np.uint8)


def charnn_update(options: argparse.Namespace, cell: str, arithmetic: devices.Arithmetic) -> Update:
    shape = {
        "cell": cell,
        "hidden_size": options.hidden_size,
        "num_layers": options.num_layers,
        "embedding_dim": options.embedding_dim,
    }
    config = TrainConfig(
        **shape,
        batch_size=options.batch_size,
        bptt=options.bptt,
        optimizer="adamw",
        steps=10**9,
    )
    model = LanguageModel(ModelConfig(vocab_size=VOCABULARY, **shape)).to(arithmetic.device)
    sampler = SequentialSampler(some_tokens(options), config.batch_size, config.bptt)
    return TrainLoop(model, sampler, config, arithmetic).update


class BareModel(nn.Module):
    """Embedding, recurrent layers and output layer of PyTorch."""

    def __init__(self, options: argparse.Namespace, cell: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, options.embedding_dim)
        self.recurrent = FUSED[cell](
            options.embedding_dim, options.hidden_size, options.num_layers, batch_first=True
        )
        self.output = nn.Linear(options.hidden_size, VOCABULARY)

    def forward(self, inputs, state):
        """Return the logits and the new state."""
        outputs, state = self.recurrent(self.embedding(inputs), state)
        return self.output(outputs), state


def bare_update(options: argparse.Namespace, cell: str, arithmetic: devices.Arithmetic) -> Update:
    def windows(tokens: torch.Tensor) -> list[torch.Tensor]:
        streams = tokens.view(options.batch_size, -1)
        return [window.contiguous() for window in streams.split(options.bptt, dim=1)]

    config = TrainConfig()
    model = BareModel(options, cell).to(arithmetic.device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.lr,
        betas=BETAS,
        weight_decay=config.weight_decay,
        fused=True,
    )
    tokens = torch.from_numpy(some_tokens(options).astype(np.int64)).to(arithmetic.device)
    batches = itertools.cycle(zip(windows(tokens[:-1]), windows(tokens[1:]), strict=True))
    state = None

    def update() -> None:
        nonlocal state
        inputs, targets = next(batches)
        with arithmetic.autocast():
            logits, after = model(inputs, state)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        state = after.detach() if isinstance(after, torch.Tensor) else [h.detach() for h in after]

    return update


if __name__ == "__main__":
    main()
