"""Measure the cost of spinning threads: training alone, and with a second training process.

Prints tokens per second of charnn's training step at 1×512 in bfloat16, for values of
GOMP_SPINCOUNT and for OMP_WAIT_POLICY=PASSIVE. Each measurement is a new process, because the
setting is read only once.
"""

import argparse
import os
import subprocess
import sys

import machine

SETTINGS = {
    "default of the library": {},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
    "GOMP_SPINCOUNT=1000 (charnn)": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
STEPS = """
import sys, time, numpy as np, torch
from charnn.config import ModelConfig, TrainConfig
from charnn.model.device import Arithmetic
from charnn.model.language_model import LanguageModel
from charnn.data.samplers import SequentialSampler
from charnn.training.loop import TrainLoop
tokens = np.random.default_rng(1).integers(66, size=300_000).astype(np.uint8)
config = TrainConfig(optimizer="adamw", steps=1000)
model = LanguageModel(ModelConfig(vocab_size=66))
cpu = Arithmetic(torch.device("cpu"), "bfloat16")
training = TrainLoop(model, SequentialSampler(tokens, 64, 64), config, cpu)
training.update()
begin = time.perf_counter()
while time.perf_counter() - begin < float(sys.argv[1]):
    training.update()
print((training.counters.tokens - 4096) / (time.perf_counter() - begin))
"""


def rates(setting: dict[str, str], processes: int, seconds: float) -> list[float]:
    """Return the tokens per second of each of several processes that run at the same time."""
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", STEPS, str(seconds)],
            env={**clean, **setting},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    return [float(process.communicate()[0]) for process in started]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in SETTINGS}
    for _ in range(options.rounds):
        for name, setting in SETTINGS.items():
            found[name][0].append(rates(setting, 1, options.seconds)[0])
            found[name][1].append(sum(rates(setting, 2, options.seconds)))
    print(machine.title("torch"))
    print()
    machine.print_table(
        ("setting", "one process, tokens/s", "two processes, sum of tokens/s"),
        ([name, *(machine.spread(side, 0) for side in sides)] for name, sides in found.items()),
    )


if __name__ == "__main__":
    main()
