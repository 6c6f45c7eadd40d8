"""`charnn lab`: experiments that test textbook claims about recurrent networks."""

import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charnn.commands import options
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.lab.experiment import Finding
    from charnn.lab.trained_gradients import Subject

FOLDER = Path("lab")  # default folder of pictures, in the working folder

lab = typer.Typer(
    no_args_is_help=True,
    help="Run experiments that test textbook claims about recurrent networks.",
)


@dataclass(frozen=True)
class LabOptions:
    """The options of all experiments."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help=options.described("PNG or SVG file to write.", "lab/NAME.png")
        ),
    ] = None
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed of data, weights and batch order.")
    ] = 1
    quick: Annotated[
        bool, typer.Option("--quick", help="Run a shorter version, about 10 seconds.")
    ] = False
    threads: Annotated[int, options.train_option("threads")] = 1
    json: options.Json = False
    quiet: options.Quiet = False


def _conduct(
    name: str, how: LabOptions, find_subject: Callable[[], tuple[object, ...]] = tuple
) -> int:
    """Run an experiment on its subject, print its results and draw its charts.

    The thread counts are set before its module is imported: NumPy and torch read them once.
    An interrupted experiment writes no file.
    """
    from charnn.commands.threads import set_up_numpy, set_up_torch
    from charnn.display.charts import draw_charts
    from charnn.display.figure import check_suffix
    from charnn.display.messages import Display
    from charnn.display.progress import status_line

    picture = how.output or FOLDER / f"{name}.png"
    check_suffix(picture)
    set_up_torch()
    set_up_numpy(how.threads)
    import numpy  # noqa: F401 - before torch, which ignores an interrupt while it loads NumPy

    from charnn.model.device import configure  # loads torch

    configure(how.threads, deterministic=False)
    run: Callable[..., Finding] = importlib.import_module(f"charnn.lab.{name}").run
    subject = find_subject()
    display = Display(quiet=how.quiet)
    with status_line(display) as tell:
        finding = run(*subject, seed=how.seed, quick=how.quick, tell=tell)
    _print(name, finding, picture, how)
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw_charts(finding.charts, picture)
    display.note(f"wrote {picture}")
    if how.quick:
        display.hint("small differences in a short run may be noise; repeat it without --quick")
    return 0


def _print(name: str, finding: "Finding", picture: Path, how: LabOptions) -> None:
    from charnn.display.stdout import Output, print_json
    from charnn.lab.experiment import as_text

    if how.json:
        result = {
            "experiment": name,
            "seed": how.seed,
            "quick": how.quick,
            "held": finding.held,
            "verdict": finding.verdict,
            "question": finding.experiment.question,
            "claim": finding.experiment.claim,
            "measured": finding.experiment.measured,
            "findings": finding.findings,
            "picture": str(picture),
            **finding.data,
        }
        print_json(result)
        return
    output = Output()
    width = shutil.get_terminal_size().columns if output.is_terminal else None
    output.line(as_text(finding, width))
    output.flush()


@lab.command("memory")
@options.command()
def memory(*, how: LabOptions) -> int:
    """Measure how far back truncated BPTT learns, with and without carried state."""
    return _conduct("memory", how)


@lab.command("gradients")
@options.command()
def gradients(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help=options.described("Run or model file.", "new networks")
        ),
    ] = None,
    how: LabOptions,
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
) -> int:
    """Check manual BPTT against autograd; measure vanishing and exploding gradients."""
    return _conduct("gradients", how, lambda: (_trained_model(model, data_dir, runs_dir),))


def _trained_model(model: str | None, data_dir: Path, runs_dir: Path) -> "Subject | None":
    """Return a trained model with tokens of its dataset; None if no model is named."""
    if model is None:
        return None
    from charnn.data.dataset import find_dataset_of
    from charnn.lab.trained_gradients import Subject
    from charnn.model.runs import open_model

    opened = open_model(model, runs_dir)
    loaded = opened.file
    dataset = find_dataset_of(loaded.fingerprint, data_dir)
    tokens = dataset.split("val" if "val" in dataset.splits else "train")
    return Subject(loaded, tokens, opened.name)


@lab.command("truncation")
@options.command()
def truncation(*, how: LabOptions) -> int:
    """Measure the cost of BPTT without truncation, and the error of truncation."""
    return _conduct("truncation", how)


@lab.command("samplers")
@options.command()
def samplers(*, how: LabOptions) -> int:
    """Compare random and sequential batches, and the effect of carried state."""
    return _conduct("samplers", how)


@lab.command("cells")
@options.command()
def cells(*, how: LabOptions) -> int:
    """Compare RNN, LSTM and GRU: size, speed, loss after equal tokens or equal time."""
    return _conduct("cells", how)


@lab.command("baselines")
@options.command()
def baselines(
    *,
    data: options.Dataset = None,
    how: LabOptions,
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
) -> int:
    """Compare n-grams, hidden Markov models, xz and trained runs on a dataset."""

    def find_subject() -> tuple[object, ...]:
        from charnn.data.dataset import open_dataset

        return open_dataset(workspace.find_dataset(data, data_dir)), runs_dir

    return _conduct("baselines", how, find_subject)
