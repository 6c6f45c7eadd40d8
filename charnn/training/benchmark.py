"""Time training updates on this machine, to choose the precision and to plan a budget in minutes.

A whole update is timed: forward and backward pass, clipping, optimizer. A precision that is fast
in the network can be slow in the optimizer.
"""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from charnn.arrays import Ids
from charnn.config import TrainConfig, flag
from charnn.data.samplers import fitting_batch_size
from charnn.errors import UsageError
from charnn.model.device import Arithmetic, choose_device, multiplies_bfloat16
from charnn.training.loop import TrainLoop, new_loop
from charnn.training.time_budget import is_short

MIN_SPEEDUP = 1.2  # minimum speed of a reduced precision relative to the one preferred before it
# Time per benchmark, for all candidates: in seconds, and at most this fraction of --minutes.
BENCHMARK_SECONDS, BENCHMARK_FRACTION = 1.0, 0.015
MIN_ROUNDS = 2  # updates per candidate; the first one of a shape is slow
BENCHMARK_BPTT = 64  # maximum tokens per row of a timed update: longer ones are not faster
LONG_RUN, SMALL_LR = 10**6, 1e-6  # no averaging of weights, no divergence
PRODUCT_SIZE, PRODUCT_ROUNDS = 256, 5  # the matrix product that excludes bfloat16 on most CPUs


@dataclass(frozen=True)
class Machine:
    """Device and precision of a run, the training speed, and a note on the choice or "".

    `tokens_per_minute` is None if the speed was not measured.
    """

    arithmetic: Arithmetic
    tokens_per_minute: float | None = None
    note: str = ""


def measure_machine(
    config: TrainConfig,
    tokens: Ids,
    vocab_size: int,
    start_token: int = 0,
    *,
    speed: bool = False,
) -> Machine:
    """Choose device and precision for a network of these settings; measure its speed if asked.

    "auto" chooses the precision whose updates are fastest on the training `tokens` (N,); a reduced
    precision must be faster by MIN_SPEEDUP. For a deterministic or short run nothing is timed: the
    precision is float32 on a CPU, and bfloat16 on a GPU that supports it in hardware. Raise
    UsageError if the device does not exist or does not support the precision.
    """
    candidates, note = _candidates(choose_device(config.device), config)
    is_timed = speed or len(candidates) > 1
    if not is_timed and candidates[0].precision == "float32":
        return Machine(candidates[0], note=note)
    with torch.random.fork_rng(devices=[]):  # keep the random numbers of the run
        loops = _loops(candidates, config, tokens, vocab_size, start_token)
        if not is_timed:
            return Machine(candidates[0], note=note)
        seconds = _time_updates(loops, _benchmark_seconds(config))
    chosen = 0
    for number in range(1, len(loops)):
        if seconds[chosen] > MIN_SPEEDUP * seconds[number]:
            chosen = number
    counters = loops[chosen].counters
    return Machine(
        loops[chosen].arithmetic,
        60 * counters.tokens / counters.step / seconds[chosen],
        note or _comparison([loop.arithmetic.precision for loop in loops], seconds, chosen),
    )


def _candidates(device: torch.device, config: TrainConfig) -> tuple[list[Arithmetic], str]:
    """Return the precisions to compare, float32 first, and a note if there is no choice."""
    names, note = [config.precision], ""
    if config.precision == "auto":
        names = ["float32"]
        if config.deterministic or is_short(config):
            if device.type == "cuda" and multiplies_bfloat16(device):
                names = ["bfloat16"]
            reason = flag("deterministic" if config.deterministic else "minutes")
            note = f"precision {names[0]} because of {reason}: nothing is timed"
        elif device.type == "cuda":
            names += ["bfloat16"] if multiplies_bfloat16(device) else []
            names += ["float16"]
        elif device.type == "cpu":
            slowdown = bfloat16_slowdown()
            if slowdown < 1:
                names += ["bfloat16"]
            else:
                note = (
                    "precision float32: matrix products in bfloat16 are "
                    f"{slowdown:.1f} times slower on this CPU"
                )
    return [Arithmetic(device, name) for name in names], note


def bfloat16_slowdown() -> float:
    """Return the time of a matrix product in bfloat16 on the CPU relative to float32.

    CPUs without instructions for bfloat16 take up to thirty times as long, so that even one update
    of a network would be slow.
    """
    fastest = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    for _, dtype in itertools.product(range(PRODUCT_ROUNDS), fastest):
        matrix = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE, dtype=dtype)
        begin = time.perf_counter()
        torch.mm(matrix, matrix)
        fastest[dtype] = min(fastest[dtype], time.perf_counter() - begin)
    return fastest[torch.bfloat16] / fastest[torch.float32]


def _loops(
    candidates: Sequence[Arithmetic],
    config: TrainConfig,
    tokens: Ids,
    vocab_size: int,
    start_token: int,
) -> list[TrainLoop]:
    """Return a training for each candidate that can train, after its first update.

    Raise UsageError if none can.
    """
    bptt = min(config.bptt, BENCHMARK_BPTT, max(1, len(tokens) - 1))
    plan = {"bptt": bptt, "steps": LONG_RUN, "minutes": None}
    config = config.model_copy(update=plan | {"lr": SMALL_LR, "matrix_lr": SMALL_LR})
    config = config.model_copy(update={"batch_size": fitting_batch_size(config, len(tokens))})
    loops, counts = [], np.ones(vocab_size, np.int64)
    for candidate in candidates:
        if candidate.precision == "float16" and candidate.device.type == "cpu":
            continue  # no gradient scaling on a CPU, and float16 is not faster there
        try:
            loop = new_loop(config, tokens, counts, candidate, start_token=start_token)
            loop.update()
        except RuntimeError:  # "could not create a primitive": a CPU without those kernels
            if candidate.precision == "float32":
                raise
        else:
            loops.append(loop)
    if not loops:
        name, device = candidates[0].precision, candidates[0].device.type
        raise UsageError(
            f"--precision {name}: recurrent layers do not support it on this {device}",
            "use --precision float32",
        )
    return loops


def _benchmark_seconds(config: TrainConfig) -> float:
    budget = math.inf if config.minutes is None else 60 * config.minutes
    return min(BENCHMARK_SECONDS, BENCHMARK_FRACTION * budget)


def _time_updates(loops: Sequence[TrainLoop], seconds: float) -> list[float]:
    """Return the seconds of the fastest update of each loop, from about `seconds` of updates.

    The loops alternate, so that other load on the machine affects all of them.
    """
    fastest = [math.inf] * len(loops)
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < MIN_ROUNDS or time.perf_counter() < end:
        rounds += 1
        for number, loop in enumerate(loops):
            fastest[number] = min(fastest[number], _seconds_of_update(loop))
    return fastest


def _seconds_of_update(loop: TrainLoop) -> float:
    begin = time.perf_counter()
    loop.update()
    if loop.arithmetic.device.type != "cpu":
        torch.accelerator.synchronize(loop.arithmetic.device)  # otherwise only the launch is timed
    return time.perf_counter() - begin


def _comparison(names: Sequence[str], seconds: Sequence[float], chosen: int) -> str:
    """Return a note with the time of an update in each precision; "" if there was no choice."""
    if len(names) == 1:
        return ""
    others = ", ".join(
        f"{_short(taken)} in {name}"
        for number, (name, taken) in enumerate(zip(names, seconds, strict=True))
        if number != chosen
    )
    return f"precision {names[chosen]}: an update takes {_short(seconds[chosen])} ({others})"


def _short(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
