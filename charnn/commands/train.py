"""`charnn train`: dataset → run."""

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charnn.commands import options, train_settings
from charnn.config import TrainConfig
from charnn.errors import UsageError
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.display.messages import Display
    from charnn.training.events import Result
    from charnn.training.trainer import Trainer

SAMPLE_LINES = 3  # of text that the best model writes at the end


@options.command(TrainConfig)
def train(
    *,
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(help="Dataset: its name or folder. Default: the one prepared last."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run.", show_default="DATA-CELL-NNN")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; flags win over it.")
    ] = None,
    given: options.Given,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with a stopped run, exactly where it stopped.", metavar="RUN"),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            help="Begin a new run with the weights and the shape of this model.", metavar="MODEL"
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved settings as YAML, and stop.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace a run of the same name.")] = False,
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
    first = None  # the model that it begins with
    if resume is not None:
        train_settings.refuse_with_resume(name, init_from, asked)
        folder = workspace.find_run(resume, runs_dir)
        dataset, chosen = train_settings.resumed(folder, asked, data_dir, display)
    else:
        if init_from is not None:
            first = workspace.find_model(init_from, runs_dir)
            asked = {**train_settings.inherited(first), **asked}
        dataset, chosen = train_settings.resolved(asked, data_dir, display)
        folder = runs_dir / workspace.check_name(
            name or workspace.next_run_name(runs_dir, dataset.name, chosen.cell)
        )
    if print_config:
        train_settings.print_settings(chosen)
        return 0
    from charnn.model.device import memory_explained
    from charnn.storage.lock import Lock
    from charnn.training.optimizers import rate_names
    from charnn.training.trainer import Trainer

    with memory_explained(chosen.batch_size):
        session = Trainer(dataset, chosen, folder, began)
    if resume is None:
        session.run.create(force=force)
    with Lock(folder), memory_explained(session.config.batch_size):
        if resume is not None:
            session.resume(new_rates=rate_names(chosen) <= asked.keys())
        elif first is not None:
            session.init_from(first)
        session.record_config()
        return _run(session, context, display, json=json)


def _refuse_ranks() -> None:
    """One of several processes that `torchrun` started would train as if it were alone."""
    ranks = os.environ.get("WORLD_SIZE", "1")
    if ranks != "1":
        rank = os.environ.get("RANK", "?")
        raise UsageError(
            f"this is rank {rank} of {ranks}: charnn trains in one process",
            "start it without torchrun, or with --nproc-per-node 1",
        )


def _run(session: "Trainer", context: typer.Context, display: "Display", *, json: bool) -> int:
    """Train until done or told to stop; save, report, and name the next command."""
    from charnn.commands.signals import StopRequestedError, listening
    from charnn.commands.train_progress import Watcher

    run = session.run.folder
    _tell_notes(session, display)
    result = None
    with (
        listening() as requests,
        Watcher(display, session.dataset.chars_per_token("train")) as watcher,
    ):
        session.validator.check = requests.check
        try:
            if session.config.minutes and session.has_val and not display.quiet:
                # What comes after the training would not be in the minutes.
                _ = session.validator.ladder
                requests.check()
            for event in session.events():
                watcher.show(event)
                if requests.save:
                    requests.save = False
                    watcher.show(session.save())
                requests.check()
            result = session.finish()
        except StopRequestedError:
            session.save()
    if result is None:
        assert requests.stop
        display.note(f"stopped at step {session.training.step:,}; the state is saved")
        words = ("charnn", "train", "--resume", str(run))
        display.hint(f"go on with: {options.next_command(context, *words)}")
        return requests.stop
    _tell_notes(session, display)
    _report(result, session, display, json=json)
    words = ("charnn", "sample", "--temp", "0.8")
    display.hint(f"next: {options.next_command(context, *words)}")
    return 0


def _tell_notes(session: "Trainer", display: "Display") -> None:
    """What was adapted since this was last told."""
    while session.notes:
        display.note(session.notes.pop(0))


def _report(result: "Result", session: "Trainer", display: "Display", *, json: bool) -> None:
    """The outcome: figures, what they are worth, and a taste of the text."""
    from charnn.display.stdout import Output
    from charnn.storage.jsonio import to_json

    if json:
        values = dataclasses.asdict(result)
        del values["train"], values["share"]
        if result.val is not None:
            named = {"model": result.run, "text": "val", "protocol": "carried"}
            values["val"] = {**named, **result.val.as_dict()}
            if result.share < 1:
                values["val"]["share"] = result.share
        output = Output()
        output.line(to_json(values))
        output.flush()
    if not display.quiet:
        display.note(_summary(result, session))


def _summary(result: "Result", session: "Trainer") -> str:
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
        rungs = {**session.validator.ladder, "this model": result.val.bits_per_char}
        rows = [[name, f"{bits_per_char:.3f}"] for name, bits_per_char in rungs.items()]
        parts.append(table([f"bits/char of {_judged(session)}", ""], rows))
    sample = session.best_sample().strip("\n").splitlines()[:SAMPLE_LINES]
    parts.append(quoted("\n".join(sample)))
    parts.append(f"model: {session.run.model_path}")
    return "\n\n".join(part for part in parts if part)


def _judged(session: "Trainer") -> str:
    """The text that the rungs of the ladder are about."""
    from charnn.evaluation.baselines import JUDGED

    if len(session.dataset.split("val")) <= JUDGED:
        return "the validation text"
    return f"the validation text (all but the last: of its first {JUDGED:,} tokens)"
