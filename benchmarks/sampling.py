"""How fast charnn samples and scores, as ratios within one run; prints a Markdown table.

    python benchmarks/sampling.py [--threads N]

The reference is the usual loop in torch: embedding, nn.LSTM for one step, output layer, softmax,
multinomial. It runs in a process of its own, so that two thread pools do not fight. Every figure
is the best of several rounds.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from machine import print_table, title

VOCABULARY = 65
LAYERS = 2
TARGETS = {128: 8, 512: 10, 1024: 25}  # against nn.LSTM, by width
ROUNDS = 5
SECONDS = 0.6  # of a round


def main() -> None:
    parser = argparse.ArgumentParser(description="Sampling and scoring, as ratios in one run.")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--reference", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--scoring", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    products = 1 if options.scoring else options.threads
    os.environ["OPENBLAS_NUM_THREADS"] = str(products)  # read when NumPy is imported
    if options.scoring:
        print(scoring_rate(512, options.threads))
        return
    if options.memory:
        print(scoring_memory())
        return
    if options.reference:
        print(torch_loop(options.reference, options.threads))
        return
    remarks = [f"{options.threads} threads"]
    if kernels := os.environ.get("OPENBLAS_CORETYPE"):
        remarks.append(f"OpenBLAS held to its {kernels} kernels")
    print(f"{title('numpy', 'torch', remarks=remarks)}\n")
    print_table(("what", "figure", "ratio", "aim"), rows(options.threads))


def rows(threads: int) -> Iterator[tuple[str, str, str, str]]:
    alone = {}
    for width, aim in TARGETS.items():
        torch_rate = apart("--reference", str(width), threads=threads)
        alone[width] = sampling_rate(width, samples=1)
        yield (
            f"one stream, LSTM {LAYERS}×{width}, against nn.LSTM",
            f"{alone[width]:,.0f} : {torch_rate:,.0f} tokens/s",
            f"{alone[width] / torch_rate:.1f}×",
            f"≥ {aim}×",
        )
    weights, memory = weight_bandwidth(1024), read_bandwidth()
    yield (
        f"a step at {LAYERS}×1024 against the memory floor",
        f"{weights:.0f} : {memory:.0f} GB/s",
        f"{weights / memory:.2f}",
        "≥ 0.80",
    )
    peak = product_rate(512)
    for what, rate in (
        (f"64 samples at once, {LAYERS}×512, against one", sampling_rate(512, samples=64)),
        (
            f"scoring short lines, {LAYERS}×512, against one stream",
            apart("--scoring", threads=threads),
        ),
    ):
        yield (
            what,
            f"{rate:,.0f} : {alone[512]:,.0f} tokens/s (bare matrix products: {peak:,.0f})",
            f"{rate / alone[512]:.1f}×",
            "≥ 15×",
        )
    for samples in (8, 16, 32, 128, 256):
        rate = sampling_rate(512, samples)
        yield (
            f"{samples} samples at once, {LAYERS}×512, against one",
            f"{rate:,.0f} : {alone[512]:,.0f} tokens/s",
            f"{rate / alone[512]:.1f}×",
            "",
        )
    yield "peak memory of sample -n -1, 10⁶ tokens after 10³", f"{growth():+.1f} MB", "", "none"
    memory = f"{apart('--memory', threads=1):.0f} MB"
    yield "peak memory of scoring 16 MB, half of it one line", memory, "", "< 300 MB"


def apart(*arguments: str, threads: int) -> float:
    """Return the figure that this script prints in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), *arguments]
    return float(subprocess.check_output(command))


def per_second(work: Callable[[], int]) -> float:
    """Return the best rate of several rounds; `work` returns how much it did."""
    best = 0.0
    for _ in range(ROUNDS):
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < SECONDS:
            done += work()
        best = max(best, done / elapsed)
    return best


def torch_loop(width: int, threads: int) -> float:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    embedding, output = nn.Embedding(VOCABULARY, width), nn.Linear(width, VOCABULARY)
    lstm = nn.LSTM(width, width, LAYERS, batch_first=True)
    token, state = torch.zeros(1, 1, dtype=torch.long), None

    def steps() -> int:
        nonlocal token, state
        for _ in range(10):
            outputs, state = lstm(embedding(token), state)
            p = torch.softmax(output(outputs[:, -1]), dim=-1)
            token = torch.multinomial(p, 1)
        return 10

    with torch.inference_mode():
        return per_second(steps)


def network(width: int, cell: str = "lstm"):
    """Return a configuration and random weights of the size that trained ones have."""
    import numpy as np

    from charnn.config import ModelConfig
    from charnn.model.spec import tensor_shapes

    config = ModelConfig(
        cell=cell, hidden_size=width, num_layers=LAYERS, embedding_dim=width, vocab_size=VOCABULARY
    )
    generator = np.random.default_rng(1)
    return config, {
        name: (generator.standard_normal(shape) / width**0.5).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }


def tokenizer():
    from charnn.tokenizers.char import CharTokenizer

    pieces = [chr(32 + token).encode() for token in range(VOCABULARY - 1)]
    return CharTokenizer([*pieces, b"\xef\xbf\xbd"], unk_id=VOCABULARY - 1)


def tokens(width: int, samples: int, limit: int, cell: str = "lstm") -> Iterator[int]:
    """Draw samples as `charnn sample` does, and yield the size of each piece."""
    from charnn.config import SampleConfig
    from charnn.generation.constraints import constrain
    from charnn.generation.generate import Request, Sample, generate, initial_context
    from charnn.model.numpy_model import NumpyModel

    model, vocabulary = NumpyModel(*network(width, cell)), tokenizer()
    constraint = constrain(vocabulary.pieces, vocabulary.unk_id)
    request = Request(SampleConfig(max_new_tokens=limit), constraint, seed=1, samples=samples)
    context = initial_context(model, 0)
    for event in generate(model, vocabulary, request, context, in_flight=samples):
        if not isinstance(event, Sample):
            yield len(event.data)


def sampling_rate(width: int, samples: int) -> float:
    if samples == 1:
        stream = tokens(width, 1, -1)
        return per_second(lambda: sum(next(stream) for _ in range(10)))
    return per_second(lambda: sum(tokens(width, samples, 200)))


def scoring_rate(width: int, threads: int) -> float:
    """As `charnn score` reads lines: groups side by side, each product on one thread."""
    import numpy as np

    from charnn.evaluation.line_reader import Part
    from charnn.evaluation.surprisal import Scorer
    from charnn.model.numpy_model import NumpyModel

    scorer = Scorer(NumpyModel(*network(width)), tokenizer(), 0, threads=threads)
    symbols = np.random.default_rng(2).integers(32, 32 + VOCABULARY - 1, (256, 50))
    parts = [Part(bytes(line.tolist())) for line in symbols]
    return per_second(lambda: sum(len(scored.ids) for scored in scorer.score(parts)))


def weight_bandwidth(width: int) -> float:
    """Gigabytes of weights a second that a step of one stream reads."""
    import numpy as np

    from charnn.model.numpy_model import NumpyModel

    model = NumpyModel(*network(width))
    streams, ids = model.streams(model.initial_state()), np.array([3])
    size = sum(layer.joined.nbytes for layer in model.layers) + model.output.nbytes

    def steps() -> int:
        for _ in range(10):
            streams.step(ids)
        return 10

    return per_second(steps) * size / 1e9


def read_bandwidth() -> float:
    """Gigabytes a second at which NumPy reads half a gigabyte: the best of two ways."""
    import numpy as np

    matrix = np.ones((8192, 16384), np.float32)
    vector, result = np.ones(16384, np.float32), np.empty(8192, np.float32)

    def product() -> int:
        np.dot(matrix, vector, result)
        return matrix.nbytes

    def largest() -> int:
        matrix.max()
        return matrix.nbytes

    return max(per_second(product), per_second(largest)) / 1e9


def product_rate(width: int) -> float:
    """Tokens a second if a step of 64 streams were its matrix products and nothing else."""
    import numpy as np

    shapes = [(4 * width, width), *[(4 * width, 2 * width)] * (LAYERS - 1), (VOCABULARY, width)]
    work = [(np.ones(shape, np.float32), np.ones((shape[1], 64), np.float32)) for shape in shapes]
    results = [np.empty((len(weights), 64), np.float32) for weights, _ in work]

    def products() -> int:
        for (weights, inputs), result in zip(work, results, strict=True):
            np.dot(weights, inputs, result)
        return 64

    return per_second(products)


def growth() -> float:
    """Megabytes that the peak of memory rises from the thousandth token to the millionth."""
    stream = tokens(16, 1, -1, cell="rnn")
    for _ in range(1000):
        next(stream)
    before = peak()
    for _ in range(10**6 - 1000):
        next(stream)
    return peak() - before


def scoring_memory() -> float:
    """Megabytes at the peak after 16 MB of lines, of which one is half of it."""
    from charnn.evaluation.line_reader import BLOCK, lines
    from charnn.evaluation.surprisal import Scorer
    from charnn.model.numpy_model import NumpyModel

    scorer = Scorer(NumpyModel(*network(16, "rnn")), tokenizer(), 0)
    short = b"a line of some length, as in a log\n" * (BLOCK // 35)
    chunks = [short] * (8_000_000 // BLOCK) + [b"x" * BLOCK] * (8_000_000 // BLOCK)
    for parts in lines(chunks, lambda: True):
        for _ in scorer.score(parts):
            pass
    return peak()


def peak() -> float:
    """Megabytes that this process has held at most, and not the one that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (most,) = (line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM"))
    return int(most.split()[1]) / 1024


if __name__ == "__main__":
    main()
