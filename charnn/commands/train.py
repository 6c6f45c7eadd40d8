"""`charnn train`: train a model on a dataset."""

import contextlib
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charnn.commands import options, train_settings
from charnn.config import BUDGETS, TrainConfig
from charnn.errors import UsageError
from charnn.escape import visible
from charnn.storage import workspace
from charnn.storage.workspace import find_stopped_run, next_run_name

if TYPE_CHECKING:
    from charnn.commands.train_progress import TrainProgress
    from charnn.display.messages import Display
    from charnn.model.model_file import ModelFile
    from charnn.training.events import Result
    from charnn.training.trainer import Trainer

SAMPLE_LINES = 3  # of the sample printed at the end
JSON_KEYS = (
    "run",
    "steps",
    "epochs",
    "tokens",
    "seconds",
    "tokens_per_second",
    "parameters",
    "val",
    "best_step",
)


class TrainCommand(typer.core.TyperCommand):
    """The command `charnn train`, whose option --resume has an optional value."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's context
        """Parse the command line; insert an empty value after a --resume without one."""
        values = []
        for argument, after in itertools.zip_longest(args, args[1:], fillvalue="-"):
            values.append(argument)
            if argument == "--resume" and after.startswith("-"):
                values.append("")
        return super().parse_args(ctx, values)


@options.command(TrainConfig)
def train(
    *,
    context: typer.Context,
    data: options.Dataset = None,
    name: Annotated[
        str | None,
        typer.Option(help=options.described("Name of the run.", "DATASET-CELL-NNN")),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML settings file; flags take precedence.")
    ] = None,
    given: options.Given,
    resume: Annotated[
        str | None,
        typer.Option(
            help=options.described("Resume a run from its last checkpoint.", "newest stopped run"),
            metavar="[RUN]",
            autocompletion=options.complete_run,
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            help="Start a new run from the weights of this model.",
            metavar="MODEL",
            autocompletion=options.complete_run,
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved settings as YAML and exit.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a run of this name.")] = False,
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Train a recurrent language model on a dataset."""
    began = time.perf_counter()
    from charnn.commands.threads import set_up_torch
    from charnn.display.messages import Display

    _refuse_ranks()
    set_up_torch()
    display = Display(quiet=quiet)
    asked = train_settings.asked(given if data is None else {**given, "data": data}, config)
    model = _read_model(init_from, runs_dir)
    if resume is not None:
        train_settings.refuse_with_resume(name, init_from)
        folder = workspace.find_run(resume, runs_dir) if resume else find_stopped_run(runs_dir)
        dataset, settings, changes = train_settings.of_resumed_run(folder, asked, data_dir)
    else:
        dataset, settings = train_settings.of_new_run(asked, data_dir, model)
        changes, name = "", name or next_run_name(runs_dir, dataset.name, settings.cell)
        folder = runs_dir / workspace.check_name(name)
    display.note("loading PyTorch and benchmarking this machine …")
    from charnn.training.resolve import resolve, resolve_machine

    if resume is not None:
        resolved = resolve_machine(settings, len(dataset.split("train")))
    else:
        resolved = resolve(settings, dataset, init_from or "")
    for note in filter(None, (changes, *resolved.notes)):
        display.note(note)
    if print_config:
        train_settings.print_settings(resolved.config, asked)
        return 0
    from charnn.commands.train_progress import TrainProgress
    from charnn.model.device import memory_explained
    from charnn.storage.lock import Lock
    from charnn.training.optimizers import rate_names
    from charnn.training.trainer import Trainer

    with memory_explained(resolved.config.batch_size):
        trainer = Trainer(
            dataset,
            resolved.config,
            folder,
            began,
            planned_tokens=resolved.planned_tokens,
            baselines=not quiet,
        )
    if resume is None:
        trainer.folder.create(force=force)
    with Lock(folder), memory_explained(resolved.config.batch_size):
        if resume is not None:
            trainer.resume(new_rates=rate_names(resolved.config) <= asked.keys())
        elif model is not None and init_from is not None:
            trainer.init_from(model, init_from)
        trainer.record_config()
        has_budget = not asked.keys().isdisjoint(BUDGETS) or resume is not None
        progress = TrainProgress(
            display, dataset.chars_per_token("train"), hints_at_length=not has_budget
        )
        return _run(trainer, progress, context, display, json=json)


def _read_model(name: str | None, runs_dir: Path) -> "ModelFile | None":
    from charnn.model.model_file import read_model

    return None if name is None else read_model(workspace.find_model(name, runs_dir))


def _refuse_ranks() -> None:
    """Raise UsageError in a process of a distributed run, which charnn does not support."""
    ranks = os.environ.get("WORLD_SIZE", "1")
    if ranks != "1":
        rank = os.environ.get("RANK", "?")
        raise UsageError(
            f"this is rank {rank} of {ranks}, but charnn does not support distributed training",
            "start it without torchrun, or with --nproc-per-node 1",
        )


def _run(
    trainer: "Trainer",
    progress: "TrainProgress",
    context: typer.Context,
    display: "Display",
    *,
    json: bool,
) -> int:
    """Train until the end or a stop signal; save, print the result and the next command."""
    from charnn.commands.signals import StopRequestedError, listening
    from charnn.training.events import Result

    run = trainer.folder.path
    result = None
    with listening() as requests, progress:
        try:
            with contextlib.closing(trainer.events()) as events:
                for event in events:
                    if isinstance(event, Result):
                        result = event
                        break
                    progress.show(event)
                    if requests.save:
                        requests.save = False
                        progress.show(trainer.save())
                    requests.check()
        except StopRequestedError:
            trainer.save()
    if result is None:
        assert requests.stop
        display.note(f"stopped at step {trainer.loop.counters.step:,}; the state is saved")
        words = ("charnn", "train", "--resume", str(run))
        display.hint(f"resume with: {options.next_command(context, *words)}")
        return requests.stop
    _report(result, trainer, display, json=json)
    words = ("charnn", "sample", "--temp", "0.8")
    display.hint(f"next: {options.next_command(context, *words)}")
    return 0


def _report(result: "Result", trainer: "Trainer", display: "Display", *, json: bool) -> None:
    """Print the result table, on stderr if stdout is a terminal, else on stdout.

    With --json, print the result as JSON on stdout and the table on stderr. With --quiet, print
    only the path of the model on stdout.
    """
    from charnn.display.stdout import Output

    output = Output()
    if json:
        _print_result(result)
        display.note(_summary(result, trainer))
    elif display.quiet:
        output.line(str(trainer.folder.model_path))
    elif output.is_terminal:
        display.note(_summary(result, trainer))
    else:
        output.line(visible(_summary(result, trainer)))
    output.flush()


def _print_result(result: "Result") -> None:
    from charnn.display.stdout import print_json

    values = {name: getattr(result, name) for name in JSON_KEYS}
    if result.val is not None:
        named = {"model": result.run, "text": "val", "protocol": "carried"}
        values["val"] = {**named, **result.val.as_dict()}
        if result.share < 1:
            values["val"]["share"] = result.share
    print_json(values)


def _summary(result: "Result", trainer: "Trainer") -> str:
    from charnn.commands.train_progress import quoted
    from charnn.display.messages import table

    parts = []
    if result.train is not None and result.val is not None:
        headers = ["best model", "step", "loss", "perplexity", "bits/char", "bits/byte"]
        scores = {"training": result.train, "validation": result.val}
        figures = [
            [name, f"{result.best_step:,}"]
            + [f"{x:.4f}" for x in (s.loss, s.perplexity, s.bits_per_char, s.bits_per_byte)]
            for name, s in scores.items()
        ]
        parts.append(table(headers, figures))
        compared = {**result.baselines, "this model": result.val.bits_per_char}
        rows = [[name, f"{bits_per_char:.3f}"] for name, bits_per_char in compared.items()]
        parts.append(table([f"bits/char of {_compared_text(trainer)}", ""], rows))
    sample = result.sample.strip("\n").splitlines()[:SAMPLE_LINES]
    parts.append(quoted("\n".join(sample)))
    parts.append(f"model: {trainer.folder.model_path}")
    return "\n\n".join(part for part in parts if part)


def _compared_text(trainer: "Trainer") -> str:
    """Return a description of the text that the baselines are evaluated on."""
    from charnn.evaluation.baselines import MAX_SCORED_TOKENS

    if len(trainer.dataset.split("val")) <= MAX_SCORED_TOKENS:
        return "the validation text"
    return f"the validation text (baselines: its first {MAX_SCORED_TOKENS:,} tokens)"
