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
WORTH_IT = 1.2  # reduced precision must be at least this much faster to be chosen
TRIALS = 6  # steps of a trial; the quickest counts, for others may be busy meanwhile
LOOKS = 3  # trials that must all speak against bfloat16
TRIAL_LENGTH = 16  # tokens of each row in a trial
TRIAL_SHARE = 0.8  # of a trial's speed that training has, optimizer and output included


@dataclass(frozen=True)
class Arithmetic:
    """A device and the type in which it multiplies matrices; weights stay float32."""

    device: torch.device
    precision: str

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """A context in which matrix products run in the chosen precision."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto prefers CUDA, then MPS, then the CPU.

    Raises UsageError where that device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    device = torch.device(name)
    there = {"cuda": torch.cuda.is_available(), "mps": _has_mps(), "cpu": True}[device.type]
    if device.type == "cuda" and there and (device.index or 0) >= torch.cuda.device_count():
        there = False
    if not there:
        raise UsageError(f"--device {name}: this machine has no such device", "use --device cpu")
    return device


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def configure(threads: int | None, *, deterministic: bool) -> None:
    """Set the process up once, before the first tensor: threads, denormals, determinism.

    Denormals are flushed to zero: decaying hidden states otherwise reach them, and some CPUs
    compute with them a hundred times slower.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    # Weights that were cast or dropped are copied together for cuDNN; that costs little.
    warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
    if deterministic:
        # cuBLAS reads this when its first handle is made; harmless on a CPU.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def memory_explained(batch_size: int) -> Iterator[None]:
    """Turn "out of memory" inside the block into an error that says what takes less."""
    try:
        yield
    except RuntimeError as error:
        on_cpu = "can't allocate memory" in str(error)  # torch has no class of its own for this
        if not on_cpu and not isinstance(error, torch.OutOfMemoryError):
            raise
        raise CharnnError(
            f"out of memory at batch size {batch_size}",
            f"use --batch-size {max(1, batch_size // 2)}, a shorter --bptt, or a smaller model",
        ) from error


def choose_precision(
    name: str, device: torch.device, hidden_size: int, batch_size: int, *, timed: bool = True
) -> str:
    """`name`, or for "auto" the quicker of float32 and bfloat16 on this device.

    Both are timed on a layer of the given shape, so the answer is measured, not guessed from the
    processor's name. Unless `timed`, for clocks do not repeat, it is float32 on a CPU, and on a
    GPU bfloat16 where that is multiplied in hardware. Raises UsageError where the device lacks
    the precision asked for.
    """
    if name == "auto" and timed:
        return _quicker_precision(device, hidden_size, batch_size)
    if name == "auto":
        on_gpu = device.type == "cuda" and _multiplies_bfloat16(device)
        return "bfloat16" if on_gpu else "float32"
    if name != "float32" and not _can_train(device, name, hidden_size, batch_size):
        raise UsageError(
            f"--precision {name}: a recurrent layer does not run in it on {device.type} here",
            "use --precision float32",
        )
    return name


def _quicker_precision(device: torch.device, hidden_size: int, batch_size: int) -> str:
    if device.type == "mps" or not _multiplies_bfloat16(device):
        return "float32"
    if not _can_train(device, "bfloat16", hidden_size, batch_size):
        return "float32"
    sides = [Arithmetic(device, name) for name in ("float32", "bfloat16")]
    quickest, pause = [math.inf, math.inf], 0.0
    for _ in range(LOOKS):
        time.sleep(pause)  # what disturbed all of a trial may pass
        begin = time.perf_counter()
        seconds = _seconds_of_a_step(sides, hidden_size, batch_size)
        full, reduced = quickest = list(map(min, quickest, seconds))
        if full > WORTH_IT * reduced:
            return "bfloat16"
        pause = time.perf_counter() - begin
    return "float32"


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a GPU does so itself; of a CPU the trial will tell."""
    if device.type != "cuda":
        return True
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _can_train(device: torch.device, name: str, hidden_size: int, batch_size: int) -> bool:
    if name == "float16" and device.type == "cpu":
        return False  # no gradient scaling is offered there, and no CPU gains by it
    try:
        _trial_step(_trial_layer(device, hidden_size), Arithmetic(device, name), batch_size)
    except RuntimeError:  # "could not create a primitive": a CPU without those kernels
        return False
    return True


def tokens_a_minute(arithmetic: Arithmetic, hidden_size: int, batch_size: int) -> float:
    """About how many tokens a network of one LSTM layer trains on in a minute, by a short trial."""
    (seconds,) = _seconds_of_a_step([arithmetic], hidden_size, batch_size)
    return TRIAL_SHARE * 60 * batch_size * TRIAL_LENGTH / seconds


def _seconds_of_a_step(
    sides: Sequence[Arithmetic], hidden_size: int, batch_size: int
) -> list[float]:
    """The quickest step of each side; they take turns, so that what disturbs one disturbs all."""
    layers = [_trial_layer(side.device, hidden_size) for side in sides]
    quickest = [math.inf] * len(sides)
    for _ in range(TRIALS):
        for number, (side, layer) in enumerate(zip(sides, layers, strict=True)):
            begin = time.perf_counter()
            _trial_step(layer, side, batch_size)
            quickest[number] = min(quickest[number], time.perf_counter() - begin)
    return quickest


def _trial_layer(device: torch.device, hidden_size: int) -> LSTM:
    with torch.random.fork_rng(devices=[]):  # a trial must not move the run's random numbers
        return LSTM(hidden_size, hidden_size).to(device)


def _trial_step(layer: LSTM, arithmetic: Arithmetic, batch_size: int) -> None:
    inputs = torch.zeros(batch_size, TRIAL_LENGTH, layer.hidden_size, device=arithmetic.device)
    with arithmetic.autocast():
        outputs, _ = layer(inputs, layer.initial_state(batch_size))
        outputs.sum().backward()
    if arithmetic.device.type != "cpu":
        torch.accelerator.synchronize(arithmetic.device)  # else the launch alone is timed
