"""`charnn plot`: learning curves of one run or several."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from charnn.commands import options
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.display.learning_curves import Curve

NEWEST = (None,)


@options.command()
def plot(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs: names or folders. Default: the newest."),
    ] = None,
    x: Annotated[
        Literal["step", "tokens", "seconds"], typer.Option("--x", help="What to plot over.")
    ] = "step",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write a PNG or SVG; without it, draw in the terminal."
        ),
    ] = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    quiet: options.Quiet = False,
) -> int:
    """Draw the learning curves of runs."""
    from charnn.display.learning_curves import Curve
    from charnn.display.messages import Display
    from charnn.training.metrics_log import read_metrics

    folder = runs_dir
    found = [workspace.find_run(name, folder) for name in (runs or NEWEST)]
    curves = [Curve(path.resolve().name, read_metrics(path)) for path in found]
    if output is not None:
        from charnn.display.figure import learning_curves

        learning_curves(curves, x, output)
        Display(quiet=quiet).note(f"wrote {output}")
    else:
        _draw(curves, x)
    return 0


def _draw(curves: "list[Curve]", x: Literal["step", "tokens", "seconds"]) -> None:
    """Curves as characters on stdout, as wide as the terminal."""
    import shutil

    from charnn.display.stdout import Output
    from charnn.display.terminal_plot import terminal_curves

    output = Output()
    output.line(terminal_curves(curves, x, width=shutil.get_terminal_size().columns))
    output.flush()
