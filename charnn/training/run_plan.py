"""Plan a run: find its folder and its dataset, and merge the given settings with the defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charnn.config import (
    FIXED_SETTINGS,
    NetworkConfig,
    SamplerName,
    TrainConfig,
    flag,
    merge,
    validate,
)
from charnn.data.dataset import Dataset, open_dataset
from charnn.errors import UsageError
from charnn.model.model_file import ModelFile, read_model
from charnn.storage import workspace
from charnn.storage.settings_file import read_settings


@dataclass(frozen=True)
class RunPlan:
    """A run to start or to resume.

    `given` are the settings that the user gave, `settings` those with defaults; `changes` describes
    the settings of a resumed run that differ from before. `init_from` names the `model` whose
    weights a new run starts from, if any.
    """

    folder: Path
    dataset: Dataset
    settings: TrainConfig
    given: Mapping[str, Any]
    is_resumed: bool = False
    changes: str = ""
    init_from: str = ""
    model: ModelFile | None = None


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

    Raise UsageError for invalid settings and names that do not exist, DataError or StorageError if
    the dataset or model cannot be read.
    """
    if resume is not None:
        _refuse_with_resume(name, init_from)
        folder = (
            workspace.find_run(resume, runs_dir) if resume else workspace.find_stopped_run(runs_dir)
        )
        return _resumed(folder, given, data_dir)
    model = None if init_from is None else read_model(workspace.find_model(init_from, runs_dir))
    dataset, settings = _new(given, data_dir, model)
    name = name or workspace.next_run_name(runs_dir, dataset.name, settings.cell)
    folder = runs_dir / workspace.check_name(name)
    if not force:
        workspace.refuse_existing_run(folder)
    return RunPlan(folder, dataset, settings, given, init_from=init_from or "", model=model)


def _refuse_with_resume(name: str | None, init_from: str | None) -> None:
    """Raise UsageError for an option that starts a new run."""
    if name is not None or init_from is not None:
        other = "--name" if name is not None else "--init-from"
        raise UsageError(
            f"--resume continues a run; {other} starts a new one", f"leave out {other}"
        )


def _new(
    given: Mapping[str, Any], data_dir: Path, model: ModelFile | None
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
    folder = workspace.find_dataset(settings.data, data_dir)
    dataset = open_dataset(folder)
    sampler = _sampler(settings, dataset)
    has_name = (data_dir / dataset.name).resolve() == folder.resolve()
    # --resume opens the dataset again, by name or, if it is not in data_dir, by path.
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

    Raise UsageError if a setting changes that must not change when a run is resumed.
    """
    recorded = read_settings(folder / workspace.CONFIG_FILE, TrainConfig)
    settings = validate(TrainConfig, merge(recorded, given))
    changes = {
        name: f"{name} {'unset' if before is None else before} → {value}"
        for name, value in settings.model_dump(mode="json").items()
        if name in given and value != (before := recorded.get(name))
    }
    kept = {*NetworkConfig.model_fields, "preset", *FIXED_SETTINGS}
    if refused := [change for name, change in changes.items() if name in kept]:
        raise UsageError(
            f"these settings cannot change when a run is resumed: {', '.join(refused)}",
            "leave them out, or start a new run with --init-from",
        )
    note = f"changed settings: {', '.join(changes.values())}" if changes else ""
    dataset = open_dataset(workspace.find_dataset(settings.data, data_dir))
    return RunPlan(folder, dataset, settings, given, is_resumed=True, changes=note)
