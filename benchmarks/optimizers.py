"""Time an update with Muon against one with AdamW, also with the kernels of other processors.

    python benchmarks/optimizers.py [--presets small medium] [--updates 8] [--threads N]

Kernels of older processors are selected by environment variables of oneDNN and PyTorch, which a new
process reads at its start; `without oneDNN` uses PyTorch's own. Prints the median times in
milliseconds and their ratio, and the time of a matrix product in bfloat16 against float32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from machine import print_table, title

from charnn.config import TrainConfig
from charnn.model.device import Arithmetic
from charnn.training.benchmark import bfloat16_slowdown
from charnn.training.loop import new_loop
from charnn.training.presets import PRESETS

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
PROCESSORS: dict[str, tuple[dict[str, str], bool]] = {
    "this one": ({}, True),
    "AVX-512 without bfloat16": ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, True),
    "AVX2": (AVX2, True),
    "AVX2 without oneDNN": (AVX2, False),
}
VOCABULARY, TARGET = 65, 1.3


def main() -> None:
    """Print the table, or, in a process of its own, the times of one processor."""
    parser = argparse.ArgumentParser(description="Time of an update by optimizer.")
    parser.add_argument("--presets", nargs="+", default=["small", "medium"], choices=PRESETS)
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--measure", metavar="PRESET", help=argparse.SUPPRESS)
    parser.add_argument("--no-onednn", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure:
        torch.backends.mkldnn.enabled = not options.no_onednn
        print(json.dumps(measured(options)))
        return
    print(f"{title('torch', remarks=[f'{options.threads} threads'])}\n")
    print_table(
        ("kernels", "preset", "AdamW, ms", "Muon, ms", "ratio", "target", "bfloat16 / float32"),
        rows(options),
    )


def rows(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    for name, (variables, onednn) in PROCESSORS.items():
        for preset in options.presets:
            command = [sys.executable, *sys.argv, "--measure", preset]
            command += [] if onednn else ["--no-onednn"]
            done = subprocess.run(
                command, env=os.environ | variables, check=True, stdout=subprocess.PIPE
            )
            found = json.loads(done.stdout)
            ratio = found["muon"] / found["adamw"]
            times = (f"{found['adamw']:.0f}", f"{found['muon']:.0f}")
            yield name, preset, *times, f"{ratio:.2f}", f"≤ {TARGET}", f"{found['bfloat16']:.1f}"


def measured(options: argparse.Namespace) -> dict[str, float]:
    """Return the median milliseconds of an update by optimizer; the two alternate."""
    preset = PRESETS[options.measure]
    arithmetic = Arithmetic(torch.device("cpu"), "float32")
    size = 200 * preset.batch_size * 64
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, size).astype(np.uint8)
    loops = {}
    for optimizer in ("adamw", "muon"):
        config = TrainConfig(
            hidden_size=preset.hidden_size,
            embedding_dim=preset.embedding_dim,
            batch_size=preset.batch_size,
            optimizer=optimizer,
            steps=10**6,
        )
        loops[optimizer] = new_loop(config, tokens, np.ones(VOCABULARY, np.int64), arithmetic)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.updates + 1):
        for name, loop in loops.items():
            begin = time.perf_counter()
            loop.update()
            times[name].append(1e3 * (time.perf_counter() - begin))
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    return {**medians, "bfloat16": bfloat16_slowdown()}


if __name__ == "__main__":
    main()
