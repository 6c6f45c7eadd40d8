"""Plan a run: find its folder and its dataset, and merge the given settings with the defaults."""

import contextlib
import math
import os
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charnn.config import (
    FIXED_SETTINGS,
    NetworkConfig,
    PrepareConfig,
    SamplerName,
    TrainConfig,
    flag,
    merge,
    validate,
)
from charnn.data.corpora import Catalogue
from charnn.data.dataset import Dataset, open_dataset
from charnn.data.samplers import SAMPLERS, Sampler, fitting_batch_size
from charnn.errors import CharnnError, UsageError
from charnn.model.model_file import ModelFile, read_model
from charnn.model.runs import open_model, recorded_settings
from charnn.storage import workspace
from charnn.training.time_budget import planned_steps


@dataclass(frozen=True)
class RunPlan:
    """A run to start or to resume.

    `given` are the settings that the user gave, `settings` those with defaults; `recorded` are the
    settings of the run to resume, None for a new run. `init_from` names the `model` whose weights a
    new run starts from, if any; `note` says which damaged runs were skipped to find it.
    """

    folder: Path
    dataset: Dataset
    settings: TrainConfig
    given: Mapping[str, Any]
    recorded: Mapping[str, Any] | None = None
    init_from: str = ""
    model: ModelFile | None = None
    note: str = ""

    @property
    def is_resumed(self) -> bool:
        """Whether the run exists and is resumed."""
        return self.recorded is not None

    def changes(self, resolved: TrainConfig) -> str:
        """Return which given settings differ from those of the run to resume; empty if none do.

        `resolved` are the settings on this machine.
        """
        changes = _changes(self.recorded or {}, resolved, self.given)
        return f"changed settings: {', '.join(changes.values())}" if changes else ""


def plan_run(
    given: Mapping[str, Any],
    data_dir: Path,
    runs_dir: Path,
    *,
    name: str | None = None,
    resume: str | None = None,
    init_from: str | None = None,
    force: bool = False,
) -> RunPlan:
    """Return the plan of a new run, or of the run to `resume`; "" is the newest stopped run.

    Raise UsageError for invalid settings, for names that do not exist, and for a run to resume that
    is finished; DataError or StorageError if the dataset or model cannot be read.
    """
    if resume is not None:
        _refuse_with_resume(name, init_from)
        if given.get("data") is not None:
            workspace.find_dataset(given["data"], data_dir, runs_dir)  # a run is refused
        folder = (
            workspace.find_run(resume, runs_dir) if resume else workspace.find_stopped_run(runs_dir)
        )
        return _resumed(folder, given, data_dir)
    opened = None if init_from is None else open_model(init_from, runs_dir)
    model, note = (opened.file, opened.note) if opened else (None, "")
    dataset, settings = _new(given, data_dir, runs_dir, model)
    name = name or workspace.next_run_name(runs_dir, dataset.name, settings.cell)
    folder = runs_dir / workspace.check_name(name)
    if not force:
        workspace.refuse_existing_run(folder)
    return RunPlan(folder, dataset, settings, given, None, init_from or "", model, note)


def _refuse_with_resume(name: str | None, init_from: str | None) -> None:
    """Raise UsageError for an option that starts a new run."""
    if name is not None or init_from is not None:
        other = "--name" if name is not None else "--init-from"
        raise UsageError(
            f"--resume continues a run; {other} starts a new one", f"leave out {other}"
        )


def _new(
    given: Mapping[str, Any], data_dir: Path, runs_dir: Path, model: ModelFile | None
) -> tuple[Dataset, TrainConfig]:
    """Return the dataset and the given settings, with the network of `model` if any."""
    network = {}
    if model is not None:
        network = {name: getattr(model.config, name) for name in NetworkConfig.model_fields}
        other = [f"{flag(n)} {given[n]}" for n in network if given.get(n, network[n]) != network[n]]
        if other:
            own = ", ".join(f"{name} {value}" for name, value in network.items())
            raise UsageError(
                f"--init-from needs the network of the model ({own}), not {', '.join(other)}",
                "leave these options out",
            )
    settings = validate(TrainConfig, {**network, **given})
    folder = workspace.find_dataset(settings.data, data_dir, runs_dir)
    return _opened(folder, settings, data_dir)


def _opened(folder: Path, settings: TrainConfig, data_dir: Path) -> tuple[Dataset, TrainConfig]:
    """Return the dataset in a folder, and the settings with its name or else its path.

    --resume opens the dataset again, by name or, if it is not in `data_dir`, by path.
    """
    dataset = open_dataset(folder)
    sampler = _sampler(settings, dataset)
    has_name = (data_dir / dataset.name).resolve() == folder.resolve()
    data = dataset.name if has_name else settings.data or folder.name
    return dataset, settings.model_copy(update={"data": data, "sampler": sampler})


def _sampler(settings: TrainConfig, dataset: Dataset) -> SamplerName:
    """Return the sampler for a dataset. Raise UsageError if the given one does not suit it."""
    is_given, sampler = "sampler" in settings.model_fields_set, settings.sampler
    if dataset.records:
        if is_given and sampler != "records":
            raise UsageError(
                f"--sampler {sampler} does not apply to {dataset.name}, a dataset of records",
                "leave it out, or prepare the text again with --no-lines",
            )
        return "records"
    if sampler == "records":
        raise UsageError(
            f"--sampler records needs a dataset of records; {dataset.name} is one text",
            "leave it out, or prepare the text again with --lines",
        )
    return sampler


def _resumed(folder: Path, given: Mapping[str, Any], data_dir: Path) -> RunPlan:
    """Return the plan of a run to resume.

    Raise UsageError if the run is finished, or if a setting changes that must not change when a run
    is resumed.
    """
    recorded = recorded_settings(folder)
    settings = validate(TrainConfig, merge(recorded, given))
    try:
        found = workspace.find_dataset(settings.data, data_dir)
    except CharnnError as error:
        if settings.data and "data" not in given:
            error.hint = _how_to_prepare(folder, settings.data, data_dir)
        raise
    dataset, settings = _opened(found, settings, data_dir)
    tokens = dataset.split("train")
    rows = fitting_batch_size(settings, len(tokens))
    settings = settings.model_copy(update={"batch_size": rows})
    kept = {*NetworkConfig.model_fields, "preset", *FIXED_SETTINGS}
    if refused := _changes(recorded, settings, kept & given.keys()):
        raise UsageError(
            f"these settings cannot change when a run is resumed: {', '.join(refused.values())}",
            "leave them out, or start a new run with --init-from",
        )
    sampler = SAMPLERS[settings.sampler].from_config(
        settings, tokens, start_token=dataset.start_token
    )
    if workspace.is_finished(folder):
        _refuse_finished(folder, validate(TrainConfig, recorded), settings, sampler)
    elif workspace.checkpoint_folders(folder):
        _refuse_smaller(folder, validate(TrainConfig, recorded), settings, sampler)
    return RunPlan(folder, dataset, settings, given, recorded)


def _refuse_finished(
    folder: Path, recorded: TrainConfig, settings: TrainConfig, sampler: Sampler
) -> None:
    """Raise UsageError if a finished run has nothing left to do with these settings."""
    step, last = workspace.trained_steps(folder) or 0, workspace.last_row(folder)
    before, now = planned_steps(recorded, sampler), planned_steps(settings, sampler)
    if now is None:  # a budget in minutes
        seconds = last.get("seconds")
        is_over = isinstance(seconds, float) and seconds >= 60 * (settings.minutes or 0)
    else:
        is_over = now <= step
    remedy = "a larger --steps, --epochs or --minutes"
    patience = recorded.patience
    if patience is not None and before is not None and step < before:  # stopped early
        is_over = is_over or (settings.patience or math.inf) <= patience
        remedy = "a larger --patience"
    if is_over:
        raise UsageError(
            f"{folder} is finished at step {step:,}: nothing is left to do",
            f"use {remedy}, or --init-from for a new run",
        )


def _refuse_smaller(
    folder: Path, recorded: TrainConfig, settings: TrainConfig, sampler: Sampler
) -> None:
    """Raise UsageError if a stopped run already has the steps of a new budget."""
    step, now = workspace.trained_steps(folder) or 0, planned_steps(settings, sampler)
    if now is not None and now <= step and now != planned_steps(recorded, sampler):
        raise UsageError(
            f"{folder} is already at step {step:,}; the new budget is {now:,} steps",
            "use a larger --steps or --epochs, or leave them out",
        )


def _changes(
    recorded: Mapping[str, Any], settings: TrainConfig, names: Collection[str]
) -> dict[str, str]:
    """Return `name before → after` of the named settings that differ from the recorded ones."""
    now = settings.model_dump(mode="json")
    return {
        name: f"{name} {_shown(recorded.get(name))} → {_shown(now[name])}"
        for name in now
        if name in names and now[name] != recorded.get(name)
    }


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)


def _how_to_prepare(run: Path, data: str, data_dir: Path) -> str:
    """Return a hint with the command that prepares the dataset of a run again.

    The model of the run, if it can be read, has the tokenizer.
    """
    path = Path(data) if os.sep in data else data_dir / data
    source = path.name if path.name in Catalogue().cards else "SOURCE"
    words = ["charnn", "prepare", source]
    if source != path.name:
        words += ["--name", path.name]
    with contextlib.suppress(CharnnError):
        model = read_model(run / workspace.MODEL_FILE)
        words += ["--lines"] * model.records
        if model.tokenizer.kind != PrepareConfig().tokenizer:
            words += ["--tokenizer-from", str(run)]
    if path.parent != Path(workspace.DATA_DIR):
        words += ["--data-dir", str(path.parent)]
    return f"set --data-dir, or prepare the same text again: {shlex.join(words)}"
