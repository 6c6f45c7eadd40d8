import fcntl
import io
import os
import re
import struct
import termios
import threading

import pytest

from charnn.display.messages import Display
from charnn.display.progress import HISTORY, History, Smoothed, TrainingLine, counted, status_line
from charnn.display.status import TrainingStatus, ValidationStatus

COLOURS = re.compile(r"\x1b\[[\d;]*m")
FOUND = ValidationStatus(50, 0.5, 1.5, 4.5, 2.2, best=True)


class Clock:
    """A clock that goes when the test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class PseudoTerminal:
    """A terminal of the system, and everything that was written to it."""

    def __init__(self, columns):
        self._ours, theirs = os.openpty()
        self.stream = os.fdopen(theirs, "w", encoding="utf-8", newline="")
        self.resize(columns)
        self._written = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns):
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, size)

    def _read(self):
        try:
            while data := os.read(self._ours, 4096):
                self._written.append(data)
        except OSError:  # the other end is closed
            pass

    def close(self):
        """End it; the text that was written, newlines as they were meant."""
        self.stream.close()
        self._reader.join(5)
        os.close(self._ours)
        return b"".join(self._written).decode().replace("\r\n", "\n")


@pytest.fixture
def terminal(monkeypatch):
    """A function that opens a terminal of some width."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return PseudoTerminal


def _status(step, steps=100):
    return TrainingStatus(step, steps, step / 100, step * 0.1, 2.0, 7.4, 2.9, 0.004, 58_900, 1.6)


def _train(display, clock, line_steps=range(1, 101)):
    with TrainingLine(display, clock) as line:
        for step in line_steps:
            clock.now += 0.125
            line.update(_status(step))
            if step == 50:
                line.validated(FOUND)
                line.message("a sample: \x1b[2J[bold]")


def _screens(text):
    """What stood on a line at any time."""
    return [
        part for part in re.split(r"[\r\n]", COLOURS.sub("", text).replace("\x1b[J", "")) if part
    ]


@pytest.mark.parametrize("columns", [20, 80, 140])
def test_the_live_line_stays_within_the_terminal(terminal, columns):
    """Nothing that is painted is as wide as the terminal, so nothing ever wraps."""
    screen = terminal(columns)
    _train(Display(stream=screen.stream), Clock())
    live = [part for part in _screens(screen.close()) if "/100" in part]
    assert len(live) > 10
    assert max(map(len, live)) < columns


def test_the_live_line_follows_a_resize(terminal):
    """The width is asked for at every picture, not once."""
    screen, clock = terminal(140), Clock()
    with TrainingLine(Display(stream=screen.stream), clock) as line:
        line.update(_status(1))
        screen.resize(50)
        clock.now += 1
        line.update(_status(2))
    wide, *narrow = _screens(screen.close())
    assert len(wide) == 139
    assert max(map(len, narrow)) < 50


def test_the_live_line_is_painted_four_times_a_second_at_most(terminal):
    """A thousand steps in a second are not a thousand pictures."""
    screen, clock = terminal(80), Clock()
    with TrainingLine(Display(stream=screen.stream), clock) as line:
        for step in range(1, 1001):
            clock.now += 0.001
            line.update(_status(step, 1000))
    assert screen.close().count("/1,000") <= 7  # the first, one a quarter, the last, its end


def test_results_are_printed_above_and_the_last_state_stays(terminal):
    """Validations and samples are lines of their own; so is the end."""
    screen = terminal(80)
    _train(Display(stream=screen.stream), Clock())
    lines = [COLOURS.sub("", line) for line in screen.close().split("\n")]
    assert any(
        line.endswith("val loss 1.5000  perplexity 4.500  2.200 bits/char  best") for line in lines
    )
    assert "\x1b[Ja sample: \\x1b[2J[bold]" in "\n".join(lines)
    assert "100/100" in lines[-2]
    assert lines[-1] == ""


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_the_terminal_is_left_clean_whatever_happens(terminal, kind):
    """After an exception the line stays, the cursor is on the next one, and visible."""
    screen = terminal(80)
    line = TrainingLine(Display(stream=screen.stream), Clock())

    def fail():
        with line:
            line.update(_status(7))
            raise kind

    with pytest.raises(kind):
        fail()
    text = screen.close()
    assert text.endswith("\n")
    assert "7/100" in COLOURS.sub("", text.split("\n")[-2])
    assert "\x1b[?25l" not in text


def test_a_log_has_plain_lines_at_intervals():
    """Without a terminal: the first step, one line every ten seconds, validations, the last."""
    stream = io.StringIO()
    _train(Display(stream=stream), Clock(), range(1, 251))
    text = stream.getvalue()
    assert "\r" not in text
    assert "\x1b" not in text
    starts = [line.split()[0] for line in text.splitlines()]
    assert starts == ["step=1", "step=50", "a", "step=81", "step=161", "step=241", "step=250"]


def test_quiet_training_says_nothing(terminal):
    """Neither on a terminal nor elsewhere."""
    screen, stream = terminal(80), io.StringIO()
    _train(Display(quiet=True, stream=screen.stream), Clock())
    _train(Display(quiet=True, stream=stream), Clock())
    assert screen.close() == ""
    assert stream.getvalue() == ""


def test_a_training_line_without_a_step_leaves_no_trace(terminal):
    """A run that ends before its first step has nothing to show."""
    screen = terminal(80)
    with TrainingLine(Display(stream=screen.stream), Clock()):
        pass
    assert screen.close() == ""


def _count(display, clock):
    with counted(display, "downloading 唐诗\x1b", clock) as report:
        for done in range(0, 101, 10):
            report(done * 1000, 100_000)
            clock.now += 3


def test_counted_work_leaves_no_trace_on_a_terminal(terminal):
    """A bar while it lasts, then nothing."""
    screen = terminal(80)
    _count(Display(stream=screen.stream), Clock())
    text = screen.close()
    assert "50.0 kB of 100.0 kB (50 %)" in text
    assert text.endswith("\r\x1b[J")


def test_counted_work_in_a_log_is_a_line_every_ten_seconds():
    """What takes less says nothing at all."""
    stream = io.StringIO()
    _count(Display(stream=stream), Clock())
    assert stream.getvalue().splitlines() == [
        "downloading 唐诗\\x1b: 40.0 kB of 100.0 kB (40 %)",
        "downloading 唐诗\\x1b: 80.0 kB of 100.0 kB (80 %)",
    ]


def _tell(display, clock):
    with status_line(display, clock) as tell:
        for n in range(9):
            tell(f"唐诗\x1b {n}")
            clock.now += 3


def test_told_work_leaves_no_trace_on_a_terminal(terminal):
    """Each line replaces the one before, cut to the width; then nothing."""
    screen = terminal(7)
    _tell(Display(stream=screen.stream), Clock())
    text = screen.close()
    assert "唐诗\\x" in text
    assert "\\x1b" not in text
    assert text.endswith("\r\x1b[J")


def test_told_work_in_a_log_is_a_line_every_ten_seconds():
    """What takes less says nothing at all."""
    stream = io.StringIO()
    _tell(Display(stream=stream), Clock())
    assert stream.getvalue().splitlines() == ["唐诗\\x1b 4", "唐诗\\x1b 8"]


def test_a_smoothed_value_is_a_weighted_mean():
    """The first value counts in full; the weights of all sum to one."""
    smoothed = Smoothed(0.5)
    assert smoothed.add(4.0) == 4.0
    assert smoothed.add(1.0) == pytest.approx((0.5 * 4 + 1.0) / 1.5)
    assert [Smoothed(0.98).add(3.0) for _ in range(5)][-1] == pytest.approx(3.0)


def test_a_history_is_bounded_and_true():
    """However many values come, few means are kept, each of as many values as the others."""
    history = History()
    for i in range(HISTORY * 8):
        history.add(float(i))
        assert len(history.means) < HISTORY
    share = HISTORY * 8 // len(history.means)
    assert history.means[0] == pytest.approx((share - 1) / 2)
    assert history.means[1] - history.means[0] == share
