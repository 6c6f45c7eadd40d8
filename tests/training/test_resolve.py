"""Resolved settings: benchmark, device, precision, batch size."""

import pytest
import torch

from charnn.config import TrainConfig
from charnn.model import device as devices
from charnn.model.device import Arithmetic, Machine
from charnn.training.resolve import resolve

CPU = torch.device("cpu")


def machine_with(monkeypatch, tokens_per_minute):
    """Make the benchmark return this speed."""
    found = Machine(Arithmetic(CPU, "float32"), tokens_per_minute)
    monkeypatch.setattr(devices, "measure_machine", lambda *_, **__: found)


def test_faster_machine_has_more_epochs_and_dropout(dataset, monkeypatch) -> None:
    """The same minutes are more epochs."""
    machine_with(monkeypatch, 200)
    slow = resolve(TrainConfig(minutes=1.0), dataset).config
    machine_with(monkeypatch, 10**9)
    quick = resolve(TrainConfig(minutes=1.0), dataset).config

    assert slow.dropout < quick.dropout
    assert quick.average
    assert not slow.average


@pytest.mark.parametrize("given", [{"steps": 10}, {"epochs": 2.0}, {}])
def test_speed_is_measured_only_for_minutes(dataset, monkeypatch, given) -> None:
    """With steps or epochs, the settings are the same on every machine."""
    monkeypatch.setattr(devices, "_benchmark", lambda *_: pytest.fail("timed"))

    resolve(TrainConfig(**{**given, "precision": "float32"}), dataset)


@pytest.mark.parametrize(
    ("given", "widths"),
    [({"minutes": 1.0, "hidden_size": 512}, [512]), ({"minutes": 1.0}, [512, 128]), ({}, [128])],
    ids=["one-width", "speed-then-precision", "no-minutes"],
)
def test_no_size_is_benchmarked_twice(dataset, monkeypatch, given, widths) -> None:
    """The speed is that of the reference network, the precision that of the chosen network."""
    measured = []

    def counted(candidates, hidden_size, _):
        measured.append(hidden_size)
        return [1.0] * len(candidates)

    monkeypatch.setattr(devices, "_benchmark", counted)
    monkeypatch.setattr(devices, "_can_train", lambda *_: True)
    resolve(TrainConfig(**given), dataset)

    assert measured == widths


def test_benchmark_uses_the_given_device_and_precision(dataset, monkeypatch) -> None:
    """The arguments of the benchmark are those of the settings."""
    measured = []

    def measure(*arguments, **_):
        measured.append(arguments[:2])
        return Machine(Arithmetic(CPU, "float32"), 1e6)

    monkeypatch.setattr(devices, "measure_machine", measure)
    resolve(TrainConfig(minutes=1.0, device="cpu", precision="float32"), dataset)

    assert set(measured) == {(CPU, "float32")}


def test_resolved_settings_are_complete(dataset) -> None:
    """Device, precision, threads and batch size are set; a smaller batch size is reported."""
    found = resolve(TrainConfig(steps=1, batch_size=50, bptt=64, threads=1), dataset)
    rows = (len(dataset.split("train")) - 1) // 64

    assert (found.config.device, found.config.threads) == ("cpu", 1)
    assert found.config.precision in ("float32", "bfloat16")
    assert found.config.batch_size == rows
    assert any(f"batch size 50 → {rows}" in note for note in found.notes)
