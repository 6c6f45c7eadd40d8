"""Devices and precision: the benchmark, fallbacks, errors."""

import itertools
import time

import pytest
import torch

from charnn.errors import UsageError
from charnn.model import device

CPU = torch.device("cpu")


def precision(name, **options):
    """Return the precision chosen for a small layer on the CPU."""
    return device.measure_machine(CPU, name, 8, 4, **options).arithmetic.precision


def unable(layer, arithmetic, batch_size):
    """Fail as a CPU does without the kernels of a precision."""
    if arithmetic.precision != "float32":
        raise RuntimeError("could not create a primitive")


def test_benchmark_measures_the_network_size() -> None:
    """A layer with 64 times the operations takes several times as long."""
    narrow, wide = (
        device.measure_machine(CPU, "float32", width, 32, speed=True).tokens_per_minute
        for width in (64, 512)
    )

    assert narrow > 3 * wide > 0


def test_benchmark_keeps_the_random_state() -> None:
    """The weights of a seed are the same with and without a benchmark before."""
    torch.manual_seed(1)
    expected = torch.rand(5)
    torch.manual_seed(1)
    device.measure_machine(CPU, "auto", 8, 4, speed=True)

    assert torch.equal(torch.rand(5), expected)


def test_cpu_without_bfloat16_falls_back_to_float32(monkeypatch) -> None:
    """ "auto" falls back; an explicit bfloat16 is a UsageError with a hint."""
    monkeypatch.setattr(device, "_benchmark_step", unable)

    assert precision("auto") == "float32"
    with pytest.raises(UsageError, match="bfloat16") as caught:
        precision("bfloat16")
    assert caught.value.hint == "use --precision float32"


@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, "bfloat16"), (0.95, "float32")])
def test_bfloat16_needs_the_minimum_speedup(monkeypatch, seconds, chosen) -> None:
    """A smaller speedup is not worth the loss of precision."""
    monkeypatch.setattr(device, "_can_train", lambda *_: True)
    monkeypatch.setattr(device, "_benchmark", lambda *_: [1.0, seconds])

    assert precision("auto") == chosen


def test_benchmark_takes_the_fastest_step(monkeypatch) -> None:
    """A slow outlier does not matter, and the candidates alternate."""
    seconds = itertools.cycle([0.01, 0.005, 0.03, 0.03])
    monkeypatch.setattr(device, "_can_train", lambda *_: True)
    monkeypatch.setattr(device, "_benchmark_step", lambda *_: time.sleep(next(seconds)))

    assert precision("auto") == "bfloat16"


def test_benchmark_of_a_slow_machine_is_short(monkeypatch) -> None:
    """It ends after three rounds if they take longer than its limit."""
    steps = []
    monkeypatch.setattr(device, "BENCHMARK_SECONDS", 0.0)
    monkeypatch.setattr(device, "_benchmark_step", lambda *_: steps.append(1))
    device.measure_machine(CPU, "float32", 8, 4, speed=True)

    assert len(steps) == device.MIN_ROUNDS


def test_auto_is_float32_on_a_cpu_unless_timed(monkeypatch) -> None:
    """A reproducible run does not depend on a benchmark."""
    monkeypatch.setattr(device, "_benchmark", lambda *_: pytest.fail("timed"))

    assert precision("auto", timed=False) == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_device_is_a_usage_error() -> None:
    """The hint is --device cpu."""
    with pytest.raises(UsageError, match="no such device") as caught:
        device.choose_device("cuda")

    assert caught.value.hint == "use --device cpu"
