"""Measure the speed of sampling and scoring, as ratios within one run; print a Markdown table.

    python benchmarks/sampling.py [--threads N]

The reference is the usual loop in torch: embedding, nn.LSTM for one step, output layer, softmax,
multinomial. It runs in its own process, so that two thread pools do not compete. Every figure is
the best of several rounds.
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
TARGETS = {128: 8, 512: 10, 1024: 25}  # ratio to nn.LSTM, by width
ROUNDS = 5
SECONDS = 0.6  # per round


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of sampling and scoring.")
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
        remarks.append(f"OpenBLAS restricted to its {kernels} kernels")
    print(f"{title('numpy', 'torch', remarks=remarks)}\n")
    print_table(("what", "figure", "ratio", "target"), rows(options.threads))


def rows(threads: int) -> Iterator[tuple[str, str, str, str]]:
    alone = {}
    for width, target in TARGETS.items():
        torch_rate = in_new_process("--reference", str(width), threads=threads)
        alone[width] = sampling_rate(width, samples=1)
        yield (
            f"one stream, LSTM {LAYERS}×{width}, vs nn.LSTM",
            f"{alone[width]:,.0f} : {torch_rate:,.0f} tokens/s",
            f"{alone[width] / torch_rate:.1f}×",
            f"≥ {target}×",
        )
    weights, memory = weight_bandwidth(1024), read_bandwidth()
    yield (
        f"weights read by a step, LSTM {LAYERS}×1024, vs memory bandwidth",
        f"{weights:.0f} : {memory:.0f} GB/s",
        f"{weights / memory:.2f}",
        "≥ 0.80",
    )
    peak = product_rate(512)
    for what, rate in (
        (f"64 samples in parallel, LSTM {LAYERS}×512, vs one", sampling_rate(512, samples=64)),
        (
            f"scoring short lines, LSTM {LAYERS}×512, vs sampling one stream",
            in_new_process("--scoring", threads=threads),
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
            f"{samples} samples in parallel, LSTM {LAYERS}×512, vs one",
            f"{rate:,.0f} : {alone[512]:,.0f} tokens/s",
            f"{rate / alone[512]:.1f}×",
            "",
        )
    yield "peak memory of sample -n -1, token 10³ to 10⁶", f"{growth():+.1f} MB", "", "none"
    memory = f"{in_new_process('--memory', threads=1):.0f} MB"
    yield "peak memory of scoring 16 MB, half of it one line", memory, "", "< 300 MB"


def in_new_process(*arguments: str, threads: int) -> float:
    """Run this script in a new process and return the figure that it prints."""
    command = [sys.executable, __file__, "--threads", str(threads), *arguments]
    return float(subprocess.check_output(command))


def per_second(work: Callable[[], int]) -> float:
    """Return the best rate of several rounds; `work` returns the amount that it did."""
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
    """Return a configuration and random weights about as large as trained ones."""
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
    """Return the rate of `charnn score`: groups of lines in parallel, single-threaded products."""
    import numpy as np

    from charnn.evaluation.line_reader import Part
    from charnn.evaluation.surprisal import Scorer
    from charnn.model.numpy_model import NumpyModel

    scorer = Scorer(NumpyModel(*network(width)), tokenizer(), 0, threads=threads)
    symbols = np.random.default_rng(2).integers(32, 32 + VOCABULARY - 1, (256, 50))
    parts = [Part(bytes(line.tolist())) for line in symbols]
    return per_second(lambda: sum(len(scored.ids) for scored in scorer.score(parts)))


def weight_bandwidth(width: int) -> float:
    """Return the gigabytes of weights per second that sampling one stream reads."""
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
    """Return the memory bandwidth in GB/s: the faster of two ways to read half a gigabyte."""
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
    """Return the tokens per second of the bare matrix products of a step of 64 streams."""
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
    """Return the growth of peak memory in MB from the thousandth token to the millionth."""
    stream = tokens(16, 1, -1, cell="rnn")
    for _ in range(1000):
        next(stream)
    before = peak()
    for _ in range(10**6 - 1000):
        next(stream)
    return peak() - before


def scoring_memory() -> float:
    """Return the peak memory in MB of scoring 16 MB of lines, half of it one line."""
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
    """Return the peak memory of this process in MB, without that of its parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (most,) = (line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM"))
    return int(most.split()[1]) / 1024


if __name__ == "__main__":
    main()
