"""`charnn lab`: what textbooks claim of recurrent networks, tried on this very code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charnn.commands import options
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.data.dataset import Dataset
    from charnn.lab.experiment import Finding
    from charnn.lab.trained_gradients import Subject

FOLDER = Path("lab")  # of the pictures, in the working folder

lab = typer.Typer(
    no_args_is_help=True,
    help="Try out what textbooks claim of recurrent networks: a table, a picture, a verdict.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Picture = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Picture: PNG or SVG.", show_default="lab/NAME.png"),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of data, weights and order.")]
Quick = Annotated[bool, typer.Option("--quick", help="Less of everything: about ten seconds.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; small networks gain by one.")]


def gradients(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A run or a model file, to examine on its text; without it, new networks."
        ),
    ] = None,
    output: Picture = None,
    seed: Seed = 1,
    quick: Quick = False,
    threads: Threads = 1,
    data_dir: options.DataDir = None,
    runs_dir: options.RunsDir = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Backpropagation through time by hand, and how gradients vanish and explode on their way."""

    def subject() -> "tuple[Subject | None]":
        if model is None:
            return (None,)
        from charnn.data import dataset as corpus
        from charnn.lab.trained_gradients import Subject
        from charnn.model.model_file import read_model

        path = workspace.find_model(model, workspace.runs_dir(runs_dir))
        loaded = read_model(path)
        dataset = corpus.find_dataset_of(loaded.fingerprint, workspace.data_dir(data_dir))
        tokens = dataset.split("val" if "val" in dataset.splits else "train")
        return (Subject(loaded, tokens, workspace.model_name(path)),)

    return _conduct("gradients", Manner(output, seed, quick, threads, json, quiet), subject)


def baselines(
    data: Annotated[
        str | None,
        typer.Argument(help="Dataset: its name or folder. Default: the one prepared last."),
    ] = None,
    output: Picture = None,
    seed: Seed = 1,
    quick: Quick = False,
    threads: Threads = 1,
    data_dir: options.DataDir = None,
    runs_dir: options.RunsDir = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Bits per character of a dataset: by frequency, n-grams, hidden states, xz and its runs."""

    def subject() -> "tuple[Dataset, Path]":
        from charnn.data.dataset import open_dataset

        dataset = open_dataset(workspace.find_dataset(data, workspace.data_dir(data_dir)))
        return dataset, workspace.runs_dir(runs_dir)

    manner = Manner(output, seed, quick, threads, json, quiet)
    return _conduct("baselines", manner, subject)


@dataclass(frozen=True)
class Manner:
    """How an experiment is conducted: the options that all of them have."""

    output: Path | None
    seed: int
    quick: bool
    threads: int
    json: bool
    quiet: bool


def _conduct(name: str, manner: Manner, subject: Callable[[], Sequence[Any]] = tuple) -> int:
    """Run the experiment in `lab/NAME.py` on its subject, if it has one; show what came of it.

    An experiment that is interrupted leaves nothing behind.
    """
    from importlib import import_module

    from charnn.commands.threads import set_up_numpy, set_up_torch
    from charnn.display.charts import draw
    from charnn.display.figure import check_suffix
    from charnn.display.messages import Display
    from charnn.display.progress import told

    path = manner.output or FOLDER / f"{name}.png"
    check_suffix(path)
    set_up_torch()
    set_up_numpy(manner.threads)
    from charnn.model import device as devices  # loads torch

    devices.configure(manner.threads, deterministic=False)
    experiment = import_module(f"charnn.lab.{name}")
    display = Display(quiet=manner.quiet)
    with told(display) as tell:
        finding = experiment.run(*subject(), seed=manner.seed, quick=manner.quick, tell=tell)
    _report(name, finding, path, manner)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(finding.charts, path)
    display.note(f"wrote {path}")
    return 0


def _report(name: str, finding: "Finding", path: Path, manner: Manner) -> None:
    import shutil

    from charnn.display.stdout import Output
    from charnn.lab.experiment import as_text
    from charnn.storage.jsonio import to_json

    output = Output()
    if manner.json:
        told = {
            "experiment": name,
            "seed": manner.seed,
            "quick": manner.quick,
            "held": finding.held,
            "verdict": finding.verdict,
            "picture": str(path),
            **finding.data,
        }
        output.line(to_json(told))
    else:
        width = shutil.get_terminal_size().columns if output.is_terminal else None
        output.line(as_text(finding, width))
    output.flush()


def _alone(name: str, text: str) -> Callable[..., int]:
    """The command, with its help, of an experiment that needs no subject."""

    def command(
        output: Picture = None,
        seed: Seed = 1,
        quick: Quick = False,
        threads: Threads = 1,
        json: options.Json = False,
        quiet: options.Quiet = False,
    ) -> int:
        return _conduct(name, Manner(output, seed, quick, threads, json, quiet))

    command.__doc__ = text
    return command


EXPERIMENTS = {
    "memory": _alone(
        "memory",
        "Two lags of known worth: what truncation lets a network learn, what its state remembers.",
    ),
    "gradients": gradients,
    "truncation": _alone(
        "truncation",
        "What a graph that is never cut costs, and what a gradient loses where it is.",
    ),
    "samplers": _alone(
        "samplers",
        "Random against sequential sampling, and what a state carried over a break costs.",
    ),
    "cells": _alone(
        "cells",
        "RNN, LSTM and GRU: weights, time for a token, loss after equal tokens and equal time.",
    ),
    "baselines": baselines,
}
for _name, _command in EXPERIMENTS.items():
    lab.command(_name)(_command)
