"""Progress of training: the live line of a terminal, and the lines of a log."""

import dataclasses
import io
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from charnn.commands.train_progress import (
    HISTORY,
    SMOOTHING,
    History,
    Smoothed,
    TrainProgress,
    evaluation_log,
    evaluation_text,
)
from charnn.display.messages import Display
from charnn.display.progress import SEPARATOR
from charnn.evaluation.metrics import Score
from charnn.training.events import Evaluation, Noted, Sampled, Saved, Step, Warned
from tests.terminal import CODES, Clock, screens

SCORE = Score(nats=158.344, tokens=100, chars=100, bytes=100)
FOUND = Evaluation(50, 5000, 0.5, 10.0, SCORE, best=True)
LAST = Step(
    step=1200,
    steps=6400,
    tokens=76_800,
    epoch=0.62,
    seconds=20.0,
    loss=1.6021,
    lr=0.0031,
    grad_norm=0.5,
    tokens_per_second=58_900,
)


def step(number, steps=100):
    """Return the event of a step; each takes a tenth of a second."""
    return Step(number, steps, number * 64, number / 100, number * 0.1, 2.0, 0.004, 0.5, 58_900)


def progress_at(last=LAST, *, unicode=True, chars_per_token=1.0):
    """Return the progress after a step at 0 s, a validation, and a last step."""
    stream = io.StringIO()
    display = Display(stream=stream)
    display.has_unicode = unicode
    progress = TrainProgress(display, chars_per_token)
    progress.show(dataclasses.replace(last, step=0, seconds=0.0))
    progress.show(FOUND)
    progress.show(last)
    return progress


def line_of(width, last=LAST, **options):
    return SEPARATOR.join(progress_at(last, **options).fields(width).values())


def train(display, clock, steps=range(1, 101)):
    """Show steps, with a validation and a sample after the fiftieth."""
    with TrainProgress(display, 1.0, clock) as progress:
        for number in steps:
            clock.now += 0.125
            progress.show(step(number))
            if number == 50:
                progress.show(FOUND)
                progress.show(Sampled(50, "a sample: \x1b[2J[bold]"))


def test_narrow_terminal_shows_the_main_fields():
    """79 columns: bar, step, loss, its curve, best validation, speed and time left."""
    before, _, after = re.split("([▁█]{7})", line_of(79))  # of a constant loss
    assert before == "━──────  1,200/6,400  loss 1.602  "
    assert after == "  val 1.583  58.9k tok/s  ETA 1 m 27 s"
    assert line_of(40) == "1,200/6,400  loss 1.602  ETA 1 m 27 s"
    assert line_of(12) == "1,200/6,400"
    assert line_of(4) == "1,20"


def test_wide_terminal_shows_all_fields():
    """At 140 columns no field is omitted, and bar and curve are wider."""
    line = line_of(139)
    shown = "epoch 0.62 ppl 4.963 2.311 bits/char lr 0.0031 1,200/6,400 58.9k tok/s val 1.583"
    assert set(shown.split()) <= set(line.split())
    assert len(line) == 139


def test_curve_has_all_losses():
    """From the first on the left to the last on the right, smoothed."""
    progress = TrainProgress(Display(stream=io.StringIO()), 1.0)
    for number in range(1, 101):
        progress.show(dataclasses.replace(step(number), loss=5.0 - number / 25))
    curve = progress.fields(139)["curve"]

    assert curve[0] == "█"
    assert curve[-1] == "▁"
    assert list(curve) == sorted(curve, reverse=True)


def test_ascii_bar_without_unicode():
    """A terminal without UTF-8 has no curve."""
    line = line_of(120, unicode=False)
    assert line.isascii()
    assert line.startswith("#-----  1,200/6,400")


def test_unknown_fields_are_omitted():
    """Without a planned number of steps there is no bar and no time left."""
    progress = TrainProgress(Display(stream=io.StringIO()), 1.0)
    progress.show(dataclasses.replace(LAST, steps=None))
    fields = progress.fields(140)
    assert fields["step"] == "1,200 steps"
    assert not fields.keys() & {"bar", "left", "best"}
    assert "None" not in progress.log()


def test_time_left_uses_the_speed_since_the_first_step():
    """Loading and earlier sessions do not count."""
    progress = TrainProgress(Display(stream=io.StringIO()), 1.0)
    progress.show(dataclasses.replace(LAST, step=100, steps=1200, seconds=120.0))
    assert progress.seconds_left is None
    progress.show(dataclasses.replace(LAST, step=200, steps=1200, seconds=130.0))
    assert progress.seconds_left == 100


def test_finished_run_shows_its_duration():
    """The last step has no time left."""
    done = dataclasses.replace(LAST, step=6400, seconds=80.0)
    progress = TrainProgress(Display(stream=io.StringIO()), 1.0)
    for last in (step(1), done):
        progress.show(last)

    assert progress.fields(200)["left"] == "in 1 m 20 s"


NUMBERS = st.floats()
STEPS = st.builds(
    Step,
    step=st.integers(0, 10**9),
    steps=st.none() | st.integers(1, 10**9),
    tokens=st.integers(0, 10**12),
    epoch=st.floats(0, 1e6),
    seconds=st.floats(0, 1e9),
    loss=NUMBERS,
    lr=st.floats(0, 10),
    grad_norm=NUMBERS,
    tokens_per_second=st.floats(0, 1e12),
)


@settings(deadline=None)
@given(STEPS, st.integers(1, 250), st.booleans(), st.floats(0, 10))
def test_line_fits_the_terminal(last, width, unicode, chars_per_token):
    """For any numbers and any width, and at least one field is shown."""
    line = line_of(width, last, unicode=unicode, chars_per_token=chars_per_token)
    assert 0 < cell_len(line) <= width


def test_log_line_is_key_value():
    """The names are those of metrics.jsonl; numbers have no separators or units."""
    assert progress_at().log() == (
        "step=1200 steps=6400 epoch=0.620 loss=1.6021 perplexity=4.963 bits_per_char=2.3113 "
        "lr=0.0031 tokens_per_second=58900 seconds=20.0 seconds_left=87"
    )


def test_validation_in_a_log_and_on_a_terminal():
    """key=value pairs in a log, text on a terminal."""
    found = dataclasses.replace(FOUND, step=1200, epoch=0.62)
    assert evaluation_log(found) == (
        "step=1200 epoch=0.620 val_loss=1.5834 val_perplexity=4.872 val_bits_per_char=2.2844 "
        "best=yes"
    )
    assert evaluation_text(found) == (
        "step 1,200  epoch 0.62  val loss 1.5834  perplexity 4.872  2.284 bits/char  best"
    )
    worse = dataclasses.replace(found, best=False)
    assert evaluation_text(worse) == evaluation_text(found).removesuffix("  best")
    assert evaluation_log(worse).endswith("best=no")


def test_validation_says_which_part_of_the_text_it_covers():
    """Only if there are unknown tokens."""
    score = dataclasses.replace(SCORE, unknown=2, unknown_chars=25, charge=50 * math.log(2))
    found = dataclasses.replace(FOUND, score=score)

    assert "2.284 bits/char (covers 80.0% of the characters)" in evaluation_text(found)
    assert "val_coverage=0.8 val_bits_per_char_all=2.2275 " in evaluation_log(found)


def test_messages_of_a_run():
    """Checkpoints, notes, warnings and samples."""
    stream = io.StringIO()
    with TrainProgress(Display(stream=stream), 1.0, Clock()) as progress:
        for event in (Saved(1, Path("runs/r")), Noted("n"), Warned("w"), Sampled(1, "a\nb")):
            progress.show(event)
    assert stream.getvalue().splitlines() == [
        "saved runs/r",
        "n",
        "charnn: warning: w",
        "  │ a",
        "  │ b",
    ]


@pytest.mark.parametrize("columns", [20, 80, 140])
def test_live_line_does_not_wrap(terminal, columns):
    """Every painted line is narrower than the terminal."""
    screen = terminal(columns)
    train(Display(stream=screen.stream), Clock())
    live = [part for part in screens(screen.close()) if "/100" in part]
    assert len(live) > 10
    assert max(map(len, live)) < columns


def test_live_line_follows_a_resize(terminal):
    """The width is read at every repaint."""
    screen, clock = terminal(140), Clock()
    with TrainProgress(Display(stream=screen.stream), 1.0, clock) as progress:
        progress.show(step(1))
        screen.resize(50)
        clock.now += 1
        progress.show(step(2))
    wide, *narrow = screens(screen.close())
    assert 100 < len(wide) < 140
    assert max(map(len, narrow)) < 50


def test_live_line_is_repainted_at_most_four_times_per_second(terminal):
    """Not once per step."""
    screen, clock = terminal(80), Clock()
    with TrainProgress(Display(stream=screen.stream), 1.0, clock) as progress:
        for number in range(1, 1001):
            clock.now += 0.001
            progress.show(step(number, 1000))
    assert (
        screen.close().count("/1,000") <= 7
    )  # the first, one per quarter second, the last, its end


def test_results_are_printed_above_the_live_line(terminal):
    """Validations and samples are separate lines; the last state remains visible."""
    screen = terminal(80)
    train(Display(stream=screen.stream), Clock())
    lines = [CODES.sub("", line) for line in screen.close().split("\n")]
    assert any(
        line.endswith("val loss 1.5834  perplexity 4.872  2.284 bits/char  best") for line in lines
    )
    assert "\x1b[J  │ a sample: \\x1b[2J[bold]" in "\n".join(lines)
    assert "100/100" in lines[-2]
    assert lines[-1] == ""


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_terminal_is_restored_after_an_exception(terminal, kind):
    """The line remains, and the cursor is visible on the next one."""
    screen = terminal(80)
    progress = TrainProgress(Display(stream=screen.stream), 1.0, Clock())

    def fail():
        with progress:
            progress.show(step(7))
            raise kind

    with pytest.raises(kind):
        fail()
    text = screen.close()
    assert text.endswith("\n")
    assert "7/100" in CODES.sub("", text.split("\n")[-2])
    assert "\x1b[?25l" not in text


def test_log_has_lines_at_intervals():
    """Without a terminal: the first step, a line every ten seconds, validations, the last step."""
    stream = io.StringIO()
    train(Display(stream=stream), Clock(), range(1, 251))
    text = stream.getvalue()
    assert "\r" not in text
    assert "\x1b" not in text
    starts = [line.split()[0] for line in text.splitlines()]
    assert starts == ["step=1", "step=50", "│", "step=81", "step=161", "step=241", "step=250"]


def test_quiet_training_prints_nothing(terminal):
    """On a terminal and otherwise."""
    screen, stream = terminal(80), io.StringIO()
    train(Display(quiet=True, stream=screen.stream), Clock())
    train(Display(quiet=True, stream=stream), Clock())
    assert screen.close() == ""
    assert stream.getvalue() == ""


def test_training_without_a_step_prints_nothing(terminal):
    """A run can end before its first step."""
    screen = terminal(80)
    with TrainProgress(Display(stream=screen.stream), 1.0, Clock()):
        pass
    assert screen.close() == ""


def test_smoothed_value_is_a_weighted_mean():
    """The weights sum to one from the first value on."""
    smoothed = Smoothed()
    assert smoothed.add(4.0) == pytest.approx(4.0)
    assert smoothed.add(1.0) == pytest.approx((SMOOTHING * 4 + 1.0) / (SMOOTHING + 1.0))
    assert [Smoothed().add(3.0) for _ in range(5)][-1] == pytest.approx(3.0)


def test_history_is_bounded():
    """Each mean is of the same number of values."""
    history = History()
    for i in range(HISTORY * 8):
        history.add(float(i))
        assert len(history.means) < HISTORY
    size = HISTORY * 8 // len(history.means)
    assert history.means[0] == pytest.approx((size - 1) / 2)
    assert history.means[1] - history.means[0] == size


def test_validation_shows_its_fraction_of_the_split():
    """The fraction is omitted if it is 1."""
    part = dataclasses.replace(FOUND, fraction=0.2)

    assert "(on 20% of the split)" in evaluation_text(part)
    assert "val_fraction=0.200" in evaluation_log(part)
    assert "split" not in evaluation_text(FOUND)
    assert "val_fraction" not in evaluation_log(FOUND)


def test_a_resumed_run_ends_with_the_time_of_both_sessions():
    """The total, and the time since it was resumed."""
    progress = TrainProgress(Display(stream=io.StringIO()), 1.0, Clock())
    for number, seconds in ((50, 100.0), (100, 160.0)):
        progress.show(dataclasses.replace(step(number, 100), seconds=seconds))

    assert progress.fields(200)["left"] == "in 2 m 40 s, 1 m 00 s since resuming"


@pytest.mark.parametrize(("seconds", "is_long"), [(0.5, True), (0.001, False)])
def test_long_run_without_a_budget_suggests_minutes(seconds, is_long):
    """Once, after three seconds of training, with the time left."""
    stream = io.StringIO()
    progress = TrainProgress(
        Display(stream=stream), 1.0, Clock(), shorter="charnn train lamp --minutes 2"
    )
    for number in range(1, 10):
        progress.show(dataclasses.replace(step(number, 10_000), seconds=number * seconds))
    progress.show(dataclasses.replace(step(5_000, 10_000), seconds=5_000 * seconds))

    assert stream.getvalue().count("charnn train lamp --minutes 2") == is_long
