"""Devices: what is measured by a trial, and what happens where the hardware cannot."""

import itertools
import time

import pytest
import torch

from charnn.errors import UsageError
from charnn.model import device

CPU = torch.device("cpu")


def precision(name, **options):
    """The precision chosen for a small layer on the CPU."""
    return device.measure_machine(CPU, name, 8, 4, **options).arithmetic.precision


def unable(layer, arithmetic, batch_size):
    """What a CPU without the kernels of a precision does."""
    if arithmetic.precision != "float32":
        raise RuntimeError("could not create a primitive")


def test_a_wider_network_is_found_to_be_slower() -> None:
    """The trial measures: 64 times the arithmetic takes several times as long."""
    narrow, wide = (
        device.measure_machine(CPU, "float32", width, 32, speed=True).tokens_per_minute
        for width in (64, 512)
    )

    assert narrow > 3 * wide > 0


def test_a_trial_leaves_the_random_numbers_of_the_run_alone() -> None:
    """The same seed gives the same weights, whatever was tried before."""
    torch.manual_seed(1)
    expected = torch.rand(5)
    torch.manual_seed(1)
    device.measure_machine(CPU, "auto", 8, 4, speed=True)

    assert torch.equal(torch.rand(5), expected)


def test_a_cpu_without_the_kernels_of_bfloat16_trains_in_float32(monkeypatch) -> None:
    """auto falls back; asking for it is refused with the remedy."""
    monkeypatch.setattr(device, "_benchmark_step", unable)

    assert precision("auto") == "float32"
    with pytest.raises(UsageError, match="bfloat16") as refusal:
        precision("bfloat16")
    assert refusal.value.hint == "use --precision float32"


@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, "bfloat16"), (0.95, "float32")])
def test_bfloat16_must_be_worth_it(monkeypatch, seconds, chosen) -> None:
    """A little quicker is not enough to give up digits."""
    monkeypatch.setattr(device, "_can_train", lambda *_: True)
    monkeypatch.setattr(device, "_benchmark", lambda *_: [1.0, seconds])

    assert precision("auto") == chosen


def test_a_disturbed_step_does_not_decide(monkeypatch) -> None:
    """The quickest step of each precision counts, and the two take turns."""
    seconds = itertools.cycle([0.01, 0.005, 0.03, 0.03])
    monkeypatch.setattr(device, "_can_train", lambda *_: True)
    monkeypatch.setattr(device, "_benchmark_step", lambda *_: time.sleep(next(seconds)))

    assert precision("auto") == "bfloat16"


def test_where_runs_must_repeat_no_clock_decides(monkeypatch) -> None:
    """Unless timed, auto is float32 on a CPU."""
    monkeypatch.setattr(device, "_benchmark", lambda *_: pytest.fail("timed"))

    assert precision("auto", timed=False) == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused() -> None:
    """With the one that always is as the remedy."""
    with pytest.raises(UsageError, match="no such device") as refusal:
        device.choose_device("cuda")

    assert refusal.value.hint == "use --device cpu"
