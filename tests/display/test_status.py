import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from charnn.display.status import (
    SEPARATOR,
    TrainingStatus,
    ValidationStatus,
    bar,
    counted_fields,
    how_much,
    training_fields,
    training_log,
    validation_log,
    validation_text,
)

STATUS = TrainingStatus(
    step=1200,
    steps=6400,
    epoch=0.62,
    seconds=20.0,
    loss=1.6021,
    perplexity=4.963,
    bits_per_char=2.3113,
    lr=0.0031,
    tokens_per_second=58_900,
    best=1.5834,
)
LOSSES = [4.0, 2.5, 2.0, 1.8, 1.7, 1.65, 1.62, 1.6]


def _line(width, status=STATUS, unicode=True):
    return SEPARATOR.join(training_fields(status, LOSSES, width, unicode=unicode).values())


def test_a_narrow_terminal_shows_what_matters_most():
    """At 80 columns: bar, step, loss, its curve, best validation, speed and time left."""
    assert _line(79) == (
        "━──────  1,200/6,400  loss 1.602  █▄▂▂▁▁▁  val 1.583  58.9k tok/s  ETA 1 m 27 s"
    )
    assert _line(40) == "1,200/6,400  loss 1.602  ETA 1 m 27 s"
    assert _line(12) == "1,200/6,400"
    assert _line(4) == "1,20"


def test_a_wide_terminal_shows_everything():
    """At 140 columns no figure is left out, and bar and curve have grown."""
    line = _line(139)
    shown = "epoch 0.62 ppl 4.963 2.311 bits/char lr 0.0031 1,200/6,400 58.9k tok/s val 1.583"
    assert set(shown.split()) <= set(line.split())
    assert len(line) == 139


def test_without_block_characters_there_is_a_plain_bar_and_no_curve():
    """A terminal that is not UTF-8 gets ASCII."""
    line = _line(120, unicode=False)
    assert line.isascii()
    assert line.startswith("#-----  1,200/6,400")


def test_what_is_not_known_is_left_out():
    """While the number of steps is being found out there is neither bar nor time left."""
    unknown = dataclasses.replace(STATUS, steps=None, bits_per_char=None, best=None)
    fields = training_fields(unknown, LOSSES, 140, unicode=True)
    assert fields["step"] == "1,200 steps"
    assert not fields.keys() & {"bar", "left", "bits", "best"}
    assert "None" not in training_log(unknown)


def test_what_came_before_the_first_step_does_not_slow_what_is_to_come():
    """Loading, or another session: the pace is that of the steps since."""
    late = dataclasses.replace(STATUS, step=200, steps=1200, seconds=130.0, since=(100, 120.0))
    assert late.seconds_left == 100
    assert dataclasses.replace(late, step=100).seconds_left is None


def test_a_finished_run_says_how_long_it_took():
    """At the last step there is nothing left to estimate."""
    assert _line(79, dataclasses.replace(STATUS, step=6400, seconds=80.0)).endswith("in 1 m 20 s")


NUMBERS = st.floats()
STATUSES = st.builds(
    TrainingStatus,
    step=st.integers(0, 10**9),
    steps=st.none() | st.integers(1, 10**9),
    epoch=st.floats(0, 1e6),
    seconds=st.floats(0, 1e9),
    loss=NUMBERS,
    perplexity=NUMBERS,
    bits_per_char=st.none() | NUMBERS,
    lr=st.floats(0, 10),
    tokens_per_second=st.floats(0, 1e12),
    best=st.none() | NUMBERS,
)


@given(STATUSES, st.integers(1, 250), st.booleans(), st.lists(NUMBERS, max_size=60))
def test_the_line_is_never_wider_than_the_terminal(status, width, unicode, losses):
    """Whatever the numbers and the width, the parts fit, and something is shown."""
    line = SEPARATOR.join(training_fields(status, losses, width, unicode=unicode).values())
    assert 0 < cell_len(line) <= width


@given(st.text(max_size=60), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 120))
def test_a_counted_line_is_never_wider_than_the_terminal(label, done, total, width):
    """Long or wide labels are cut, other parts left out."""
    label = label or "x"
    fields = counted_fields(label, done, total, 1.5, width, unicode=True)
    assert cell_len(SEPARATOR.join(fields.values())) <= width


def test_a_counted_line():
    """What, how far, how fast, how long still."""
    fields = counted_fields("downloading", 12_300_000, 24_600_000, 3.0, 90, unicode=True)
    assert SEPARATOR.join(fields.values()) == (
        "downloading  ━━━━━━━━━━━━────────────  12.3 MB of 24.6 MB (50 %)  4.1 MB/s  ETA 3 s"
    )


def test_a_bar_is_full_only_at_the_end():
    """It is rounded down, and never out of bounds."""
    assert bar(0.999, 4, unicode=False) == "###-"
    assert bar(1.0, 4, unicode=False) == "####"
    assert bar(7.0, 2, unicode=True) == "━━"
    assert bar(-1.0, 2, unicode=True) == "──"


def test_how_much_of_nothing():
    """An empty total is done."""
    assert how_much(0, 0) == "0 B of 0 B (100 %)"


def test_a_log_line_is_key_value():
    """The names are those of metrics.jsonl; no separators of thousands, no units."""
    assert training_log(STATUS) == (
        "step=1200 steps=6400 epoch=0.620 loss=1.6021 perplexity=4.963 bits_per_char=2.3113 "
        "lr=0.0031 tokens_per_second=58900 seconds=20.0 seconds_left=87"
    )


def test_a_validation_in_a_log_and_on_a_terminal():
    """One outcome, for grep and for people."""
    found = ValidationStatus(1200, 0.62, 1.58344, 4.8717, 2.2844, best=True)
    assert validation_log(found) == (
        "step=1200 epoch=0.620 val_loss=1.5834 val_perplexity=4.872 val_bits_per_char=2.2844 "
        "best=yes"
    )
    assert validation_text(found) == (
        "step 1,200  epoch 0.62  val loss 1.5834  perplexity 4.872  2.284 bits/char  best"
    )
    worse = dataclasses.replace(found, bits_per_char=None, best=False)
    assert validation_text(worse) == "step 1,200  epoch 0.62  val loss 1.5834  perplexity 4.872"
    assert validation_log(worse).endswith("val_perplexity=4.872 best=no")
