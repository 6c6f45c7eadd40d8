"""`charnn plot`: learning curves of runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from charnn.commands import options
from charnn.display.learning_curves import Curve, XName, YName, default_y
from charnn.storage import workspace

REASONS: Mapping[YName, str] = {  # why the default is not the loss
    "bits_per_char": "the runs have different tokenizers; plotting bits per character",
    "bits_per_char_all": "the runs cover different parts of the text; plotting bits per character "
    "of all characters",
}
PLAIN_HEIGHT = 20  # lines, where stdout is not a terminal


@options.command()
def plot(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help=options.described("Runs: names or folders.", "newest"),
            autocompletion=options.complete_run,
        ),
    ] = None,
    x: Annotated[XName, typer.Option("--x", help="Horizontal axis.")] = "step",
    y: Annotated[
        YName | None,
        typer.Option(
            "--y",
            help=options.described(
                "Vertical axis.", "loss, or what compares runs that differ in tokens or coverage"
            ),
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help=options.described("Write a PNG or SVG file.", "draw in the terminal"),
        ),
    ] = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    quiet: options.Quiet = False,
) -> int:
    """Plot the learning curves of runs."""
    from charnn.display.messages import Display
    from charnn.training.metrics_log import read_metrics

    found = [workspace.find_run(name, runs_dir) for name in runs or (None,)]
    curves = [Curve(path.resolve().name, read_metrics(path)) for path in found]
    display = Display(quiet=quiet)
    shown = y or default_y(curves)
    if y is None and shown in REASONS:
        display.note(f"{REASONS[shown]} (change with --y)")
    if output is not None:
        from charnn.display.figure import draw_learning_curves

        draw_learning_curves(curves, x, output, shown)
        display.note(f"wrote {output}")
    else:
        _draw(curves, x, shown)
    return 0


def _draw(curves: list[Curve], x: XName, y: YName) -> None:
    """Plot curves on stdout; in a terminal at its size, with its colors and characters."""
    import shutil

    from charnn.display.stdout import Output
    from charnn.display.terminal_plot import terminal_curves

    output, size = Output(), shutil.get_terminal_size()
    height = size.lines - 1 if output.is_terminal else PLAIN_HEIGHT  # 1: the prompt below
    output.line(
        terminal_curves(
            curves,
            x,
            size.columns,
            height,
            y=y,
            color=output.has_color,
            unicode=output.has_unicode,
        )
    )
    output.flush()
