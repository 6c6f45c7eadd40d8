"""The settings of a training run: what is measured before they are chosen, and what is not."""

import pytest

from charnn import devices
from charnn.commands import settings
from charnn.display import Display


@pytest.fixture
def chosen(tmp_path, dataset, monkeypatch):
    """A function from what was given and a speed to the settings that come of it."""

    def choose(given, speed):
        monkeypatch.setattr(devices, "tokens_a_minute", lambda *_: speed)
        asked = {"data": str(tmp_path / "d"), **given}
        return settings.resolved(asked, tmp_path, Display(quiet=True))[1]

    return choose


def test_a_quick_machine_reads_the_text_more_often_and_drops_more(chosen) -> None:
    """The same minutes are more passes there."""
    slow, quick = (chosen({"minutes": 1.0}, speed) for speed in (1_000, 10**9))

    assert slow.dropout < quick.dropout
    assert quick.average
    assert not slow.average


@pytest.mark.parametrize("given", [{"steps": 10}, {"epochs": 2.0}, {}])
def test_only_minutes_are_worth_a_trial(chosen, given) -> None:
    """Steps and epochs choose the same on every machine."""
    assert chosen(given, 1_000) == chosen(given, 10**9)
