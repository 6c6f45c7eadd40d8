"""Signals: flags in `listening`, an exception in `unwinding`, restored handlers."""

import os
import signal

import pytest

from charnn.commands import signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no such signals there")


def test_stop_signal_sets_a_flag() -> None:
    """The flag is the exit code of the signal; `check` raises StopRequestedError."""
    with signals.listening() as requests:
        requests.check()
        os.kill(os.getpid(), signal.SIGTERM)

        assert requests.stop == 143
        assert not requests.save
        with pytest.raises(signals.StopRequestedError):
            requests.check()


def test_save_signal_does_not_stop() -> None:
    """SIGUSR1 sets only the flag `save`."""
    with signals.listening() as requests:
        os.kill(os.getpid(), signal.SIGUSR1)

        assert requests.save
        assert requests.stop is None


def test_termination_raises_an_exception() -> None:
    """SIGHUP raises Terminated with the exit code."""
    with pytest.raises(signals.Terminated) as caught, signals.unwinding():
        os.kill(os.getpid(), signal.SIGHUP)

    assert caught.value.exit_code == 143


def test_handlers_are_restored() -> None:
    """Signals that are ignored, as SIGHUP under nohup, remain ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = signal.getsignal(signal.SIGTERM)
    with signals.listening():
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) != before

    assert signal.getsignal(signal.SIGTERM) == before
