"""Signals: flags inside `listening`, an exception inside `unwinding`, handlers restored."""

import os
import signal

import pytest

from charnn.commands import signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no such signals there")


def test_a_signal_to_stop_becomes_a_flag() -> None:
    """The exit code is that of the signal; `check` raises where stopping is safe."""
    with signals.listening() as requests:
        requests.check()
        os.kill(os.getpid(), signal.SIGTERM)

        assert requests.stop == 143
        assert not requests.save
        with pytest.raises(signals.StopRequestedError):
            requests.check()


def test_a_signal_to_save_does_not_stop() -> None:
    """SIGUSR1 sets a flag of its own."""
    with signals.listening() as requests:
        os.kill(os.getpid(), signal.SIGUSR1)

        assert requests.save
        assert requests.stop is None


def test_a_termination_unwinds() -> None:
    """SIGHUP raises an exception with the exit code."""
    with pytest.raises(signals.Terminated) as caught, signals.unwinding():
        os.kill(os.getpid(), signal.SIGHUP)

    assert caught.value.exit_code == 143


def test_handlers_are_restored_and_ignored_signals_stay_ignored() -> None:
    """As under nohup, which ignores SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = signal.getsignal(signal.SIGTERM)
    with signals.listening():
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) != before

    assert signal.getsignal(signal.SIGTERM) == before
