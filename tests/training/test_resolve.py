"""Resolved settings: size by speed, device, precision, batch size."""

import pytest
import torch

from charnn.config import TrainConfig
from charnn.model.device import Arithmetic
from charnn.training import benchmark
from charnn.training import resolve as resolving
from charnn.training.benchmark import Machine
from charnn.training.presets import PRESETS, REFERENCE
from charnn.training.resolve import reconsider, resolve

CPU = torch.device("cpu")


def machine_with(monkeypatch, tokens_per_minute):
    """Make a benchmark of the reference network return this speed; narrower ones are faster.

    Return the list of widths that are measured.
    """
    widths = []

    def measure(config, *_, speed=False):
        widths.append(config.hidden_size)
        ratio = (REFERENCE.hidden_size / config.hidden_size) ** 2
        found = tokens_per_minute * ratio if speed else None
        return Machine(Arithmetic(CPU, "float32"), found, "precision float32")

    monkeypatch.setattr(resolving, "measure_machine", measure)
    return widths


@pytest.fixture
def book(dataset, monkeypatch):
    """Return a dataset that claims to have a million tokens, without having them."""

    class Book:
        tokenizer, start_token = dataset.tokenizer, dataset.start_token

        def split(self, name):
            return range(1_000_000)

    return Book()


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
    """With steps or epochs, the size is the same on every machine."""
    machine_with(monkeypatch, 10**9)
    found = resolve(TrainConfig(**given), dataset)

    assert found.tokens_per_minute is None
    assert found.config.preset == "tiny"


def test_nothing_is_measured_for_a_short_budget(dataset, monkeypatch) -> None:
    """The benchmark would take a large part of it."""
    monkeypatch.setattr(benchmark, "_time_updates", lambda *_: pytest.fail("timed"))
    config = resolve(TrainConfig(minutes=0.1), dataset).config

    assert (config.preset, config.precision) == ("tiny", "float32")


@pytest.mark.parametrize(
    ("minutes", "speed", "widths"),
    [
        (5.0, 2.4e6, [512]),  # the usual speed: the first choice is right
        (5.0, 0.1e6, [512, 256]),  # a slow machine
        (1.0, 50e6, [256, 768]),  # a fast one
    ],
)
def test_size_is_chosen_for_the_usual_speed_and_then_for_the_measured_one(
    book, monkeypatch, minutes, speed, widths
) -> None:
    """Each chosen size is measured once; its speed decides."""
    measured = machine_with(monkeypatch, speed)
    found = resolve(TrainConfig(minutes=minutes), book)

    assert measured == widths
    assert found.config.hidden_size == widths[-1]
    assert found.notes[0].startswith(f"chose preset {found.config.preset} ")
    assert found.notes[1] == "precision float32"


def test_a_given_size_is_measured_and_kept(book, monkeypatch) -> None:
    """Only its speed is measured."""
    widths = machine_with(monkeypatch, 10)
    found = resolve(TrainConfig(minutes=1.0, hidden_size=512), book)

    assert widths == [512]
    assert found.config.hidden_size == 512


def planned(book, monkeypatch, minutes=5.0, **settings):
    machine_with(monkeypatch, 2.4e6)
    asked = TrainConfig(minutes=minutes, **settings)
    return asked, resolve(asked, book)


@pytest.mark.parametrize("ratio", [0.81, 1.0, 1.24])
def test_a_small_difference_of_speed_changes_nothing(book, monkeypatch, ratio) -> None:
    """Up to a quarter."""
    asked, found = planned(book, monkeypatch)

    assert reconsider(found, asked, book, ratio * found.tokens_per_minute) is None


@pytest.mark.parametrize(("ratio", "preset"), [(0.05, "small"), (0.7, "medium"), (4.0, "large")])
def test_another_size_must_be_clearly_better(book, monkeypatch, ratio, preset) -> None:
    """It would be chosen even if the difference were a quarter smaller; otherwise it is kept."""
    asked, found = planned(book, monkeypatch)
    again = reconsider(found, asked, book, ratio * found.tokens_per_minute)

    assert found.config.preset == "medium"
    assert again is not None
    assert again.config.preset == preset
    assert again.config.hidden_size == PRESETS[preset].hidden_size


def test_more_epochs_than_planned_have_more_dropout(book, monkeypatch) -> None:
    """The size is given: only the regularization follows the speed."""
    asked, found = planned(book, monkeypatch, hidden_size=512)
    again = reconsider(found, asked, book, 5 * found.tokens_per_minute)

    assert again is not None
    assert again.config.dropout > found.config.dropout
    same = again.config.model_copy(
        update={
            name: getattr(found.config, name) for name in ("dropout", "average", "final_lr_frac")
        }
    )
    assert same.model_dump() == found.config.model_dump()
    assert "5.0 times as fast as in the benchmark" in again.notes[0]


def test_a_run_without_minutes_is_not_planned_again(dataset, monkeypatch) -> None:
    """Its settings do not depend on the speed."""
    machine_with(monkeypatch, 1e6)
    asked = TrainConfig(steps=10)

    assert reconsider(resolve(asked, dataset), asked, dataset, 1e9) is None


def test_resolved_settings_are_complete(dataset) -> None:
    """Device, precision, threads and batch size are set; a smaller batch size is reported."""
    found = resolve(TrainConfig(steps=1, batch_size=50, bptt=64, threads=1), dataset)
    rows = (len(dataset.split("train")) - 1) // 64

    assert (found.config.device, found.config.threads) == ("cpu", 1)
    assert found.config.precision in ("float32", "bfloat16")
    assert found.config.batch_size == rows
    assert any(f"batch size 50 → {rows}" in note for note in found.notes)
