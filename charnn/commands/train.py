"""`charnn train`: train a model on a dataset."""

import contextlib
import itertools
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charnn.commands import options, train_settings
from charnn.commands.help_text import Command
from charnn.commands.signals import StopRequestedError, Terminated, listening
from charnn.config import BUDGETS, TrainConfig
from charnn.errors import UsageError
from charnn.escape import visible

if TYPE_CHECKING:
    from charnn.display.messages import Display
    from charnn.evaluation.metrics import Score
    from charnn.training.events import Result
    from charnn.training.trainer import Trainer
    from charnn.training.training import Training

NOTHING_SAVED = "stopped before the first step; nothing was saved"
SAMPLE_LINES = 3  # lines shown of the sample at the end
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


class TrainCommand(Command):
    """`charnn train`, whose option --resume may be given without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; insert an empty value after a --resume that has none."""
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
            autocompletion=options.complete_stopped_run,
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
    from charnn.commands.train_progress import LONG_RUN
    from charnn.display.humanize import MINUTE
    from charnn.display.messages import Display

    _refuse_ranks()
    set_up_torch()
    display = Display(quiet=quiet)
    with _explaining_stop(display):
        asked = train_settings.asked(given if data is None else {**given, "data": data}, config)
        from charnn.training.run_plan import plan_run

        names = {"name": name, "resume": resume, "init_from": init_from}
        plan = plan_run(asked, data_dir, runs_dir, **names, force=force or print_config)
        display.note("loading PyTorch and measuring this machine …")
        if not print_config:
            display.note(f"training {plan.folder} on dataset {plan.dataset.name}")
        from charnn.training.training import Training

        training = Training(plan, began, force=force, baselines=not quiet)
        for note in training.notes:
            display.note(note)
        if print_config:
            train_settings.print_settings(training.config, asked)
            return 0
        has_budget = not asked.keys().isdisjoint(BUDGETS) or plan.is_resumed
        command = ("charnn", "train", plan.dataset.name, "--minutes", f"{LONG_RUN / MINUTE:g}")
        shorter = "" if has_budget else options.next_command(context, *command)
        result = _run(training, display, shorter)
    if isinstance(result, int):
        _report_stop(training, context, display)
        return result
    _report(result, training.trainer, display, json=json)
    words = ("charnn", "sample", "--temp", "0.8")
    display.hint(f"next: {options.next_command(context, *words)}")
    return 0


@contextlib.contextmanager
def _explaining_stop(display: "Display") -> Iterator[None]:
    """Print what is saved if a stop signal arrives before `_run` handles signals."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        display.note(NOTHING_SAVED)
        raise


def _refuse_ranks() -> None:
    """Raise UsageError in a process of a distributed run, which charnn does not support."""
    ranks = os.environ.get("WORLD_SIZE", "1")
    if ranks != "1":
        rank = os.environ.get("RANK", "?")
        raise UsageError(
            f"this is rank {rank} of {ranks}, but charnn does not support distributed training",
            "start it without torchrun, or with --nproc-per-node 1",
        )


def _run(training: "Training", display: "Display", shorter: str) -> "Result | int":
    """Train until the end or a stop signal; return the result or the exit code of the signal.

    `shorter` is the command of a shorter run, for a note if this one is long; it may be empty.
    """
    from charnn.commands.train_progress import TrainProgress
    from charnn.training.events import Result

    with listening() as requests:
        with contextlib.suppress(StopRequestedError), training:
            requests.check()
            dataset = training.trainer.dataset
            with (
                TrainProgress(
                    display, dataset.chars_per_token("train"), shorter=shorter
                ) as progress,
                contextlib.closing(training.events()) as events,
            ):
                for event in events:
                    if isinstance(event, Result):
                        return event
                    progress.show(event)
                    if requests.save:
                        requests.save = False
                        progress.show(training.save())
                    requests.check()
        assert requests.stop
        return requests.stop


def _report_stop(training: "Training", context: typer.Context, display: "Display") -> None:
    """Print what a run that was stopped has saved, and the command that resumes it."""
    if training.has_trained:
        step = training.trainer.loop.counters.step
        display.note(f"stopped at step {step:,}; the state is saved")
    else:
        display.note(NOTHING_SAVED)
    if training.folder.exists():
        words = ("charnn", "train", "--resume", str(training.folder))
        display.hint(f"resume with: {options.next_command(context, *words)}")


def _report(result: "Result", trainer: "Trainer", display: "Display", *, json: bool) -> None:
    """Print the result table, on stderr if stdout is a terminal, else on stdout.

    With --json, print the result as JSON on stdout and the table on stderr. With --quiet, print
    only the path of the model on stdout.
    """
    from charnn.display.stdout import Output

    output = Output()
    if json:
        _print_result(result, records=trainer.dataset.records)
        display.note(_summary(result, trainer))
    elif display.quiet:
        output.line(str(trainer.folder.model_path))
    elif output.is_terminal:
        display.note(_summary(result, trainer))
    else:
        output.line(visible(_summary(result, trainer)))
    output.flush()


def _print_result(result: "Result", *, records: bool) -> None:
    from charnn.display.stdout import print_json

    values = {name: getattr(result, name) for name in JSON_KEYS}
    if result.val is not None:
        protocol = "records" if records else "carried"
        named = {"model": result.run, "text": "val", "protocol": protocol}
        values["val"] = {**named, **result.val.as_dict()}
        if result.share < 1:
            values["val"]["share"] = result.share
    print_json(values)


def _summary(result: "Result", trainer: "Trainer") -> str:
    from charnn.commands.train_progress import quoted
    from charnn.display import humanize
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
        if result.train.unknown or result.val.unknown:
            headers.append("covers")
            for row, s in zip(figures, scores.values(), strict=True):
                row.append(f"{humanize.percent(s.coverage)} of characters")
        parts.append(table(headers, figures))
        if result.baselines:
            compared = {**result.baselines, "this model": result.val.comparable_bits}
            rows = [[name, f"{bits_per_char:.3f}"] for name, bits_per_char in compared.items()]
            parts.append(table([f"bits/char of {_compared_text(trainer, result.val)}", ""], rows))
        if worse_than := _better_baseline(result):
            parts.append(
                f"{worse_than} predicts the text better: train longer, with more --minutes"
            )
    which = "the model" if result.val is None else "the best model"
    if sample := result.sample.strip("\n").splitlines()[:SAMPLE_LINES]:
        parts.append(f"sample of {which}\n" + quoted("\n".join(sample)))
    parts.append(f"model: {trainer.folder.model_path}")
    return "\n\n".join(part for part in parts if part)


def _better_baseline(result: "Result") -> str:
    """Return the name of the best baseline if it is better than the model, else ""."""
    assert result.val is not None
    if not result.baselines:
        return ""
    best = min(result.baselines, key=result.baselines.__getitem__)
    return best if result.baselines[best] < result.val.comparable_bits else ""


def _compared_text(trainer: "Trainer", val: "Score") -> str:
    """Return a description of the text that the baselines are evaluated on."""
    from charnn.display import humanize
    from charnn.evaluation.baselines import MAX_SCORED_TOKENS

    text = "the validation text"
    if val.unknown:
        known_only = math.isnan(val.bits_per_char_all)
        part = f"{humanize.percent(val.coverage)} of the characters" if known_only else "all"
        text = f"{part} of {text}"
    if len(trainer.dataset.split("val")) <= MAX_SCORED_TOKENS:
        return text
    return f"{text} (baselines: its first {MAX_SCORED_TOKENS:,} tokens)"
