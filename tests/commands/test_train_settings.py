"""The settings of a training run: what is measured before they are chosen, and what is not."""

import pytest
import torch

from charnn.commands import train_settings
from charnn.display.messages import Display
from charnn.model import device as devices


@pytest.fixture
def choose(tmp_path, dataset):
    """A function from what was given to the settings that come of it."""

    def resolve(given):
        asked = {"data": str(tmp_path / "d"), **given}
        return train_settings.resolved(asked, tmp_path, Display(quiet=True))[1]

    return resolve


def test_a_quick_machine_reads_the_text_more_often_and_drops_more(choose, monkeypatch) -> None:
    """The same minutes are more passes there."""
    monkeypatch.setattr(devices, "tokens_a_minute", lambda *_: 200)
    slow = choose({"minutes": 1.0})
    monkeypatch.setattr(devices, "tokens_a_minute", lambda *_: 10**9)
    quick = choose({"minutes": 1.0})

    assert slow.dropout < quick.dropout
    assert quick.average
    assert not slow.average


@pytest.mark.parametrize("given", [{"steps": 10}, {"epochs": 2.0}, {}])
def test_only_minutes_are_worth_a_trial(choose, monkeypatch, given) -> None:
    """Steps and epochs choose the same on every machine, and wait for no clock."""
    monkeypatch.setattr(devices, "tokens_a_minute", lambda *_: pytest.fail("timed"))

    choose(given)


def test_the_machine_is_tried_as_it_will_train(choose, monkeypatch) -> None:
    """On the device and in the precision that were asked for."""
    tried = []

    def trial(arithmetic, *_):
        tried.append(arithmetic)
        return 1e6

    monkeypatch.setattr(devices, "tokens_a_minute", trial)
    choose({"minutes": 1.0, "device": "cpu", "precision": "float32", "tie_weights": True})

    assert tried == [devices.Arithmetic(torch.device("cpu"), "float32")]
