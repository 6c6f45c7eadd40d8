"""Progress lines on a terminal and in a log."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from charnn.display.messages import Display
from charnn.display.progress import (
    SEPARATOR,
    bar,
    byte_progress,
    byte_progress_fields,
    format_amount,
    status_line,
)
from tests.terminal import Clock


def _count(display, clock):
    with byte_progress(display, "downloading 唐诗\x1b", clock) as report:
        for done in range(0, 101, 10):
            report(done * 1000, 100_000)
            clock.now += 3


def test_byte_progress_on_a_terminal_is_removed_at_the_end(terminal):
    """The bar is shown while the operation runs, and then cleared."""
    screen = terminal(80)
    _count(Display(stream=screen.stream), Clock())
    text = screen.close()
    assert "50.0 kB of 100.0 kB (50 %)" in text
    assert text.endswith("\r\x1b[J")


def test_byte_progress_in_a_log_is_a_line_every_ten_seconds():
    """The first line appears after ten seconds, so short operations print nothing."""
    stream = io.StringIO()
    _count(Display(stream=stream), Clock())
    assert stream.getvalue().splitlines() == [
        "downloading 唐诗\\x1b: 40.0 kB of 100.0 kB (40 %)",
        "downloading 唐诗\\x1b: 80.0 kB of 100.0 kB (80 %)",
    ]


def _show_status(display, clock):
    with status_line(display, clock) as show:
        for n in range(9):
            show(f"唐诗\x1b {n}", n / 10)
            clock.now += 3


def test_status_line_on_a_terminal_is_removed_at_the_end(terminal):
    """Each line replaces the previous one, is cut to the width, and is then cleared."""
    screen = terminal(7)
    _show_status(Display(stream=screen.stream), Clock())
    text = screen.close()
    assert "唐诗\\x" in text
    assert "\\x1b" not in text
    assert text.endswith("\r\x1b[J")


def test_a_status_line_shows_the_time_left(terminal):
    """Next to a bar; the time is that of the work so far, in proportion."""
    screen = terminal(60)
    _show_status(Display(stream=screen.stream), Clock())
    text = screen.close()
    assert "唐诗\\x1b 5  \x1b[32m━━━━━━━━━━━━────────────\x1b[0m  ETA 15 s" in text


def test_a_status_line_guesses_no_time_at_the_beginning(terminal):
    """The first part of the work includes what is done only once."""
    screen = terminal(60)
    clock = Clock()
    with status_line(Display(stream=screen.stream), clock) as show:
        for fraction in (0.0, 0.001, 0.019):
            clock.now += 3
            show("lamp", fraction)
    assert "ETA" not in screen.close()


def test_a_status_line_in_a_log_is_a_line_every_ten_seconds():
    """Shorter work prints nothing."""
    stream = io.StringIO()
    _show_status(Display(stream=stream), Clock())
    assert stream.getvalue().splitlines() == ["唐诗\\x1b 4  ETA 18 s", "唐诗\\x1b 8  ETA 6 s"]


def test_a_status_line_is_not_repainted_for_every_report(terminal):
    """Only after a quarter of a second, or if the text changes."""
    screen = terminal(60)
    with status_line(Display(stream=screen.stream), Clock()) as show:
        for n in range(100):
            show("one", n / 100)
        show("two", 0.5)
    text = screen.close()
    assert (text.count("one"), text.count("two")) == (1, 1)


@given(st.text(max_size=60), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 120))
def test_byte_progress_fits_into_the_width(label, done, total, width):
    """Other fields are dropped, and long or wide labels are cut."""
    label = label or "x"
    fields = byte_progress_fields(label, done, total, 1.5, width, unicode=True)
    assert cell_len(SEPARATOR.join(fields.values())) <= width


def test_byte_progress_has_label_bar_amount_rate_and_eta():
    """All fields fit into a wide terminal."""
    fields = byte_progress_fields("downloading", 12_300_000, 24_600_000, 3.0, 90, unicode=True)
    assert SEPARATOR.join(fields.values()) == (
        "downloading  ━━━━━━━━━━━━────────────  12.3 MB of 24.6 MB (50 %)  4.1 MB/s  ETA 3 s"
    )


def test_bar_is_full_only_at_the_end():
    """The filled part is rounded down and limited to the width."""
    assert bar(0.999, 4, unicode=False) == "###-"
    assert bar(1.0, 4, unicode=False) == "####"
    assert bar(7.0, 2, unicode=True) == "━━"
    assert bar(-1.0, 2, unicode=True) == "──"


def test_amount_of_an_empty_total_is_100_percent():
    """Zero of zero bytes is complete."""
    assert format_amount(0, 0) == "0 B of 0 B (100 %)"
