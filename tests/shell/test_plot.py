"""`charnn plot` in a terminal: size, colors, characters."""

import json
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


def test_plot_info_and_eval_agree_on_the_final_score(trained) -> None:
    """The curve may be on a part of the split; the closing score is on all of it."""
    loss = json.loads(trained.run("eval", "lamp-lstm-001", "--json", "-q").stdout)["loss"]
    metrics = json.loads(trained.run("info", "lamp-lstm-001", "--json").stdout)["metrics"]
    legend = trained.run("plot", "lamp-lstm-001").stdout.splitlines()[-1]

    assert metrics["val"]["loss"] == pytest.approx(loss, abs=2e-4)
    assert legend.endswith(f"final {metrics['val']['loss']:.3f}")


def test_runs_of_different_tokenizers_are_plotted_in_bits_per_char(shell) -> None:
    """A note says so; --y chooses."""
    for name, bits_per_char in (("chars", 2.885), ("words", 0.7)):
        row = {"split": "train", "step": 10, "loss": 2.0, "bits_per_char": bits_per_char}
        (shell.folder / "runs" / name).mkdir(parents=True)
        shell.write(f"runs/{name}/metrics.jsonl", json.dumps(row) + "\n")
    runs = ("plot", "words", "chars")
    done = shell.run(*runs)

    assert done.stdout.startswith("bits per character by step")
    assert "different tokenizers" in done.stderr
    assert shell.run(*runs, "--y", "loss").stdout.startswith("loss (nats per token) by step")
    assert shell.run("plot", "words").stdout.startswith("loss")
