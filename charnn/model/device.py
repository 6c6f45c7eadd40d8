"""Choose device, threads and precision; set up determinism."""

import contextlib
import math
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from charnn.errors import CharnnError, UsageError
from charnn.model.layers import LSTM

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Speed benchmark; benchmarks/README.md (recipe.py) has the error rates of earlier versions.
MIN_SPEEDUP = 1.2  # minimum speed of bfloat16 relative to float32 for bfloat16 to be chosen
BENCHMARK_ROUNDS = 12  # steps per candidate, half a second in total; the fastest counts
MIN_ROUNDS, BENCHMARK_SECONDS = 3, 2.0  # on a slow machine: fewer rounds, within this time
BENCHMARK_LENGTH = 16  # tokens per row in a step
BENCHMARK_FRACTION = 0.8  # training speed, with optimizer and output layer, per benchmark speed


@dataclass(frozen=True)
class Arithmetic:
    """A device and the data type of matrix products; weights stay float32."""

    device: torch.device
    precision: str

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which matrix products run in the chosen precision."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" prefers CUDA, then MPS, then the CPU.

    Raise UsageError if the machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    kind, _, index = name.partition(":")
    cuda_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    counts = {"cuda": cuda_devices, "mps": int(_has_mps()), "cpu": 1}
    if int(index or 0) >= counts.get(kind, 0):
        raise UsageError(f"--device {name}: no such device on this machine", "use --device cpu")
    return torch.device(name)


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def configure(threads: int | None, *, deterministic: bool) -> None:
    """Set the number of threads and determinism of torch. Call once, before the first tensor.

    Denormal numbers are flushed to zero: decaying hidden states reach them, and some CPUs compute
    with them a hundred times slower.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    # cuDNN copies weights that were cast or dropped into one buffer; that costs little.
    warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
    if deterministic:
        # cuBLAS reads this variable when its first handle is created.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def memory_explained(batch_size: int) -> Iterator[None]:
    """Convert an out-of-memory error in the block to a CharnnError with a hint."""
    try:
        yield
    except RuntimeError as error:
        on_cpu = "can't allocate memory" in str(error)  # on a CPU it is a plain RuntimeError
        if not on_cpu and not isinstance(error, torch.OutOfMemoryError):
            raise
        raise CharnnError(
            f"out of memory at batch size {batch_size}",
            f"use --batch-size {max(1, batch_size // 2)}, a shorter --bptt, or a smaller model",
        ) from error


@dataclass(frozen=True)
class Machine:
    """Device and precision of a run, and the training speed measured by the benchmark.

    `tokens_per_minute` is None if the speed was not measured.
    """

    arithmetic: Arithmetic
    tokens_per_minute: float | None = None


def measure_machine(
    device: torch.device,
    precision: str,
    hidden_size: int,
    batch_size: int,
    *,
    timed: bool = True,
    speed: bool = False,
) -> Machine:
    """Choose the precision for a network of this shape; measure its speed if `speed` is set.

    "auto" chooses bfloat16 if a benchmark finds it faster than float32 by MIN_SPEEDUP. If `timed`
    is not set, for reproducible runs, it chooses float32 on a CPU, and bfloat16 on a GPU that
    supports it in hardware. Raise UsageError if the device does not support the precision.
    """
    candidates = _candidates(device, precision, hidden_size, batch_size, timed=timed)
    if len(candidates) == 1 and not speed:
        return Machine(candidates[0])
    seconds = _benchmark(candidates, hidden_size, batch_size)
    chosen = len(candidates) - 1
    if chosen and seconds[0] <= MIN_SPEEDUP * seconds[1]:
        chosen = 0
    tokens = BENCHMARK_FRACTION * 60 * batch_size * BENCHMARK_LENGTH / seconds[chosen]
    return Machine(candidates[chosen], tokens)


def _candidates(
    device: torch.device, precision: str, hidden_size: int, batch_size: int, *, timed: bool
) -> list[Arithmetic]:
    """Return the candidates of the benchmark, float32 first, or only the requested precision."""
    if precision == "auto":
        if device.type == "mps" or not _multiplies_bfloat16(device):
            return [Arithmetic(device, "float32")]
        if not timed:
            return [Arithmetic(device, "bfloat16" if device.type == "cuda" else "float32")]
        names = ["float32", "bfloat16"]
        return [
            Arithmetic(device, name)
            for name in names
            if name == "float32" or _can_train(device, name, hidden_size, batch_size)
        ]
    if precision != "float32" and not _can_train(device, precision, hidden_size, batch_size):
        raise UsageError(
            f"--precision {precision}: recurrent layers do not support it on this {device.type}",
            "use --precision float32",
        )
    return [Arithmetic(device, precision)]


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a GPU supports bfloat16 in hardware; True on a CPU, where it is measured."""
    if device.type != "cuda":
        return True
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _can_train(device: torch.device, name: str, hidden_size: int, batch_size: int) -> bool:
    if name == "float16" and device.type == "cpu":
        return False  # no gradient scaling on a CPU, and float16 is not faster there
    try:
        _benchmark_step(_benchmark_layer(device, hidden_size), Arithmetic(device, name), batch_size)
    except RuntimeError:  # "could not create a primitive": a CPU without those kernels
        return False
    return True


def _benchmark(candidates: Sequence[Arithmetic], hidden_size: int, batch_size: int) -> list[float]:
    """Return the seconds of the fastest step of each candidate.

    The candidates alternate, so that other load on the machine affects all of them.
    """
    layers = [_benchmark_layer(candidate.device, hidden_size) for candidate in candidates]
    fastest = [math.inf] * len(candidates)
    end = time.perf_counter() + BENCHMARK_SECONDS
    for done in range(BENCHMARK_ROUNDS):
        if done >= MIN_ROUNDS and time.perf_counter() > end:
            break
        for number, (candidate, layer) in enumerate(zip(candidates, layers, strict=True)):
            begin = time.perf_counter()
            _benchmark_step(layer, candidate, batch_size)
            fastest[number] = min(fastest[number], time.perf_counter() - begin)
    return fastest


def _benchmark_layer(device: torch.device, hidden_size: int) -> LSTM:
    with torch.random.fork_rng(devices=[]):  # keep the random numbers of the run
        return LSTM(hidden_size, hidden_size).to(device)


def _benchmark_step(layer: LSTM, arithmetic: Arithmetic, batch_size: int) -> None:
    inputs = torch.zeros(batch_size, BENCHMARK_LENGTH, layer.hidden_size, device=arithmetic.device)
    with arithmetic.autocast():
        outputs, _ = layer(inputs, layer.initial_state(batch_size))
        outputs.sum().backward()
    if arithmetic.device.type != "cpu":
        torch.accelerator.synchronize(arithmetic.device)  # otherwise only the launch is timed
