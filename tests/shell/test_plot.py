"""`charnn plot` in a terminal: size, colors, characters."""

import subprocess

import pytest

from tests.terminal import CODES


@pytest.fixture
def plotted(trained, terminal):
    """Return a function that plots in a terminal of 60 × 15 characters and returns the output."""

    def plot(**environment):
        screen = terminal(60, 15)
        subprocess.run(
            trained.command("plot"),
            cwd=trained.folder,
            env=trained.environment(**{"TERM": "xterm", **environment}),
            stdin=subprocess.DEVNULL,
            stdout=screen.stream,
            check=True,
            timeout=60,
        )
        return screen.close()

    return plot


def test_plot_fills_the_terminal_in_color(plotted, trained) -> None:
    """One line is left for the prompt; a pipe gets 20 lines without control codes."""
    text = plotted()
    lines = CODES.sub("", text).splitlines()
    piped = trained.run("plot").stdout

    assert "\x1b[36m" in text
    assert len(lines) == 14
    assert 50 < max(map(len, lines)) <= 60
    assert "\x1b" not in piped
    assert len(piped.splitlines()) == 20
    assert not piped.isascii()


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_plot_without_colors(plotted, environment) -> None:
    """NO_COLOR and TERM=dumb disable colors."""
    text = plotted(**environment)

    assert "\x1b" not in text
    assert not text.isascii()


def test_plot_is_ascii_in_an_ascii_locale(plotted) -> None:
    """The C locale is one."""
    assert plotted(LC_ALL="C").isascii()
