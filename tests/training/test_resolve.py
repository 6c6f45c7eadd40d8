"""The settings of a run: what is measured before they are chosen, and what is not."""

import pytest
import torch

from charnn.config import TrainConfig
from charnn.model import device as devices
from charnn.model.device import Arithmetic, Machine
from charnn.training.resolve import resolve

CPU = torch.device("cpu")


def machine_with(monkeypatch, tokens_per_minute):
    """Let the benchmark find this speed."""
    found = Machine(Arithmetic(CPU, "float32"), tokens_per_minute)
    monkeypatch.setattr(devices, "measure_machine", lambda *_, **__: found)


def test_a_quick_machine_reads_the_text_more_often_and_drops_more(dataset, monkeypatch) -> None:
    """The same minutes are more epochs there."""
    machine_with(monkeypatch, 200)
    slow = resolve(TrainConfig(minutes=1.0), dataset).config
    machine_with(monkeypatch, 10**9)
    quick = resolve(TrainConfig(minutes=1.0), dataset).config

    assert slow.dropout < quick.dropout
    assert quick.average
    assert not slow.average


@pytest.mark.parametrize("given", [{"steps": 10}, {"epochs": 2.0}, {}])
def test_speed_is_measured_for_minutes_only(dataset, monkeypatch, given) -> None:
    """Steps and epochs choose the same on every machine."""
    monkeypatch.setattr(devices, "_benchmark", lambda *_: pytest.fail("timed"))

    resolve(TrainConfig(**{**given, "precision": "float32"}), dataset)


@pytest.mark.parametrize(
    ("given", "widths"),
    [({"minutes": 1.0, "hidden_size": 512}, [512]), ({"minutes": 1.0}, [512, 128]), ({}, [128])],
    ids=["one-width", "speed-then-precision", "no-minutes"],
)
def test_no_width_is_benchmarked_twice(dataset, monkeypatch, given, widths) -> None:
    """The speed is that of one network on all machines, the precision that of the run's own."""
    benchmark, measured = devices._benchmark, []

    def counted(candidates, hidden_size, batch_size):
        measured.append(hidden_size)
        return benchmark(candidates, hidden_size, batch_size)

    monkeypatch.setattr(devices, "_benchmark", counted)
    monkeypatch.setattr(devices, "_can_train", lambda *_: True)
    resolve(TrainConfig(**given), dataset)

    assert measured == widths


def test_the_machine_is_measured_as_it_will_train(dataset, monkeypatch) -> None:
    """On the device and in the precision that were asked for."""
    measured = []

    def measure(*arguments, **_):
        measured.append(arguments[:2])
        return Machine(Arithmetic(CPU, "float32"), 1e6)

    monkeypatch.setattr(devices, "measure_machine", measure)
    resolve(TrainConfig(minutes=1.0, device="cpu", precision="float32"), dataset)

    assert set(measured) == {(CPU, "float32")}


def test_what_is_resolved_names_the_machine_and_the_batch_that_fits(dataset) -> None:
    """Nothing is left to decide later; a smaller batch is reported."""
    found = resolve(TrainConfig(steps=1, batch_size=5000, bptt=64, threads=1), dataset)
    rows = (len(dataset.split("train")) - 1) // 64

    assert (found.config.device, found.config.threads) == ("cpu", 1)
    assert found.config.precision in ("float32", "bfloat16")
    assert found.config.batch_size == rows
    assert any(f"batch size 5000 → {rows}" in note for note in found.notes)
