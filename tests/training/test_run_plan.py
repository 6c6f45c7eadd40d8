"""The plan of a run: what is new, what a resumed run keeps, which names are refused."""

import json
import subprocess
import sys

import pytest

from charnn.config import PrepareConfig, TrainConfig
from charnn.data.samplers import RecordSampler
from charnn.data.splits import split_text
from charnn.errors import CharnnError, UsageError
from charnn.model.model_file import ModelFile, write_model
from charnn.storage.settings_file import dump_settings
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.words import WordTokenizer
from charnn.training.run_plan import plan_run
from tests.tiny import random_tensors, tiny_config, written_dataset


@pytest.fixture
def folders(tmp_path, text):
    """The folders of datasets and of runs; there is a dataset `lamp` and a run `one`."""
    written_dataset(tmp_path / "data" / "lamp", split_text(text, 0.1, 0))
    run = tmp_path / "runs" / "one"
    (run / "checkpoints" / "step-00000001").mkdir(parents=True)
    (run / "config.yaml").write_bytes(dump_settings(TrainConfig(data="lamp", epochs=2.0)).encode())
    return tmp_path / "data", tmp_path / "runs"


def test_a_new_run_is_named_after_dataset_and_cell(folders) -> None:
    """Unless a name is given; the dataset is recorded by its name."""
    plan = plan_run({"data": "lamp", "cell": "gru"}, *folders)

    assert plan.folder.name == "lamp-gru-001"
    assert (plan.settings.data, plan.settings.cell, plan.is_resumed) == ("lamp", "gru", False)
    assert plan_run({"data": "lamp"}, *folders, name="two").folder.name == "two"


def test_sampler_is_that_of_the_dataset(folders, text) -> None:
    """A dataset of records is read by records, any other text is not."""
    lines = PrepareConfig(lines=True)
    written_dataset(folders[0] / "list", split_text(text, 0.1, 0), config=lines)

    assert plan_run({"data": "list"}, *folders).settings.sampler == "records"
    assert plan_run({"data": "list", "sampler": "records"}, *folders)
    assert plan_run({"data": "lamp"}, *folders).settings.sampler == "sequential"
    with pytest.raises(UsageError, match="does not apply to list, a dataset of records"):
        plan_run({"data": "list", "sampler": "sequential"}, *folders)
    with pytest.raises(UsageError, match="needs a dataset of records"):
        plan_run({"data": "lamp", "sampler": "records"}, *folders)


def test_a_resumed_run_has_its_recorded_settings(folders) -> None:
    """New settings replace them, a new budget the old one; an empty name is the newest run."""
    plan = plan_run({"steps": 5}, *folders, resume="")

    assert (plan.folder.name, plan.is_resumed) == ("one", True)
    assert (plan.settings.epochs, plan.settings.steps) == (None, 5)
    assert plan.changes(plan.settings) == "changed settings: steps unset → 5"


def finish(folders, step, **settings):
    """Record that the run `one` is finished after some steps and half a minute."""
    run = folders[1] / "one"
    config = TrainConfig(data="lamp", batch_size=4, bptt=8, **settings)
    (run / "config.yaml").write_text(dump_settings(config))
    row = {"split": "val", "step": step, "seconds": 30.0, "best_step": 1, "final": True}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")


@pytest.mark.parametrize(
    ("recorded", "given", "remedy"),
    [
        ({"steps": 9}, {}, "--steps"),
        ({"steps": 9}, {"lr": 0.5}, "--steps"),
        ({"steps": 9}, {"steps": 9}, "--steps"),
        ({"steps": 9}, {"steps": 5}, "--steps"),
        ({"steps": 9}, {"epochs": 0.1}, "--steps"),
        ({"steps": 9}, {"minutes": 0.5}, "--steps"),
        ({"steps": 20, "patience": 2}, {}, "--patience"),
        ({"steps": 20, "patience": 2}, {"steps": 40}, "--patience"),
        ({"steps": 20, "patience": 2}, {"patience": 1}, "--patience"),
    ],
    ids=str,
)
def test_a_finished_run_is_refused_without_more_to_do(folders, recorded, given, remedy) -> None:
    """Step 9 was the last; the hint names the option that has to be larger."""
    finish(folders, 9, **recorded)
    with pytest.raises(UsageError, match="is finished at step 9: nothing is left") as caught:
        plan_run(given, *folders, resume="one")

    assert remedy in caught.value.hint


@pytest.mark.parametrize(
    ("recorded", "given"),
    [
        ({"steps": 9}, {"steps": 10}),
        ({"steps": 9}, {"epochs": 1.0}),
        ({"steps": 9}, {"minutes": 0.6}),
        ({"steps": 20, "patience": 2}, {"patience": 3}),
        ({"steps": 20, "patience": 2}, {"patience": None}),
    ],
    ids=str,
)
def test_a_finished_run_with_more_to_do_is_planned(folders, recorded, given) -> None:
    """With a larger budget, or without the limit that ended it."""
    finish(folders, 9, **recorded)

    assert plan_run(given, *folders, resume="one").is_resumed


@pytest.mark.parametrize("given", [{"steps": 5}, {"steps": 9}, {"epochs": 0.1}], ids=str)
def test_a_stopped_run_is_refused_with_a_budget_that_is_used_up(folders, given) -> None:
    """By the step of its newest checkpoint; the budget that it had may be used up."""
    finish(folders, 9, steps=20)
    run = folders[1] / "one"
    (run / "metrics.jsonl").write_text('{"split": "val", "step": 9}\n')
    (run / "checkpoints" / "step-00000009").mkdir()
    with pytest.raises(UsageError, match="one is already at step 9; the new budget is ") as caught:
        plan_run(given, *folders, resume="one")
    assert "a larger --steps" in caught.value.hint

    assert plan_run({"steps": 10}, *folders, resume="one").is_resumed
    assert plan_run({"minutes": 0.1}, *folders, resume="one").is_resumed
    (run / "config.yaml").write_text(
        dump_settings(TrainConfig(data="lamp", batch_size=4, bptt=8, steps=9))
    )
    assert plan_run({}, *folders, resume="one").is_resumed


@pytest.mark.parametrize("resume", ["", "one"])
def test_a_run_in_the_place_of_a_dataset_is_refused_with_resume(folders, resume) -> None:
    """`charnn train one --resume`: the hint has the order that works."""
    with pytest.raises(UsageError, match="one is a run, not a dataset") as caught:
        plan_run({"data": "one"}, *folders, resume=resume)

    assert "continue it with --resume one" in caught.value.hint


def test_the_plan_of_a_finished_run_does_not_load_torch(folders) -> None:
    """The answer comes at once."""
    finish(folders, 9, steps=9)
    code = (
        "import sys\nfrom pathlib import Path\nfrom charnn.training.run_plan import plan_run\n"
        "try:\n    plan_run({}, Path(sys.argv[1]), Path(sys.argv[2]), resume='one')\n"
        "except Exception as error:\n    print(error)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, folders)], capture_output=True, text=True
    )

    assert "nothing is left to do" in done.stdout
    assert done.stdout.endswith("False\n"), done.stderr


def test_only_real_changes_are_reported(folders) -> None:
    """Not a dataset by its path, nor settings that end as they were on this machine."""
    machine = {"device": "cpu", "precision": "bfloat16", "threads": 2}
    run = folders[1] / "one"
    config = TrainConfig(data="lamp", steps=30, batch_size=4, bptt=8, **machine)
    (run / "config.yaml").write_text(dump_settings(config))
    automatic = {"device": "auto", "precision": "auto", "threads": None}
    given = {**config.model_dump(), **automatic, "data": str(folders[0] / "lamp")}
    plan = plan_run(given, *folders, resume="one")

    assert plan.settings.data == "lamp"
    assert plan.changes(plan.settings.model_copy(update=machine)) == ""
    other = plan.settings.model_copy(update={**machine, "precision": "float32"})
    assert plan.changes(other) == "changed settings: precision bfloat16 → float32"


@pytest.mark.parametrize(
    ("data", "command"),
    [
        ("gone", "charnn prepare SOURCE --name gone --data-dir {data}"),
        ("places", "charnn prepare places --data-dir {data}"),
        ("else/gone", "charnn prepare SOURCE --name gone --data-dir else"),
    ],
)
def test_a_missing_dataset_of_a_run_can_be_prepared_again(folders, data, command) -> None:
    """The hint is the command, with the name of the dataset and its folder."""
    config = dump_settings(TrainConfig(data=data, steps=3))
    (folders[1] / "one" / "config.yaml").write_text(config)
    with pytest.raises(CharnnError, match=f"no dataset '{data}'") as caught:
        plan_run({}, *folders, resume="one")

    assert caught.value.hint.endswith(": " + command.format(data=folders[0]))
    with pytest.raises(UsageError, match="no dataset 'other'") as caught:
        plan_run({"data": "other"}, *folders, resume="one")
    assert "prepare" not in caught.value.hint


def test_the_tokenizer_of_a_missing_dataset_is_in_the_model(folders) -> None:
    """So that the dataset is the same again."""
    tokenizer = WordTokenizer.build("one two three\n")
    shape = tiny_config(vocab_size=tokenizer.vocab_size)
    model = ModelFile(shape, tokenizer, 0, random_tensors(shape), records=True)
    write_model(folders[1] / "one" / "model.safetensors", model)
    (folders[0] / "lamp").rename(folders[0] / "renamed")
    with pytest.raises(UsageError) as caught:
        plan_run({}, *folders, resume="one")

    assert f"--name lamp --lines --tokenizer-from {folders[1] / 'one'} " in caught.value.hint


def test_damaged_settings_of_a_run_are_refused_with_a_remedy(folders) -> None:
    """The weights can still be used."""
    (folders[1] / "one" / "config.yaml").write_text("words")
    with pytest.raises(UsageError, match=r"config\.yaml: line 1") as caught:
        plan_run({}, *folders, resume="one")

    assert "--init-from one" in caught.value.hint


def test_what_a_resumed_run_keeps_cannot_change(folders) -> None:
    """The network and the order of the data; a name would be that of a new run."""
    with pytest.raises(UsageError, match="hidden_size"):
        plan_run({"hidden_size": 3}, *folders, resume="one")
    with pytest.raises(UsageError, match="--name starts a new one"):
        plan_run({}, *folders, resume="one", name="two")


@pytest.mark.parametrize("end", ["finished", "stopped"])
def test_steps_of_a_run_on_records_are_those_of_its_records(folders, end) -> None:
    """Also if the id of the newline is not 0, and if the list is shorter than a window."""
    text = "one\ntwo\n" * 6
    lines, tokenizer = PrepareConfig(lines=True), ByteTokenizer()
    dataset = written_dataset(folders[0] / "list", {"train": text}, tokenizer, lines)
    settings = {"data": "list", "sampler": "records", "batch_size": 1, "epochs": 2.0}
    config = TrainConfig(**settings, bptt=64)
    sampler = RecordSampler(dataset.split("train"), 1, 64, start_token=dataset.start_token)
    steps = 2 * sampler.batches_in(0)
    run = folders[1] / "one"
    (run / "config.yaml").write_text(dump_settings(config))
    row = {"split": "train", "step": steps, "seconds": 1.0}
    final = {"best_step": 1, "final": True} if end == "finished" else {}
    (run / "metrics.jsonl").write_text(json.dumps({**row, **final}) + "\n")
    (run / "checkpoints" / f"step-{steps:08d}").mkdir()

    with pytest.raises(UsageError, match=r"nothing is left|already at step"):
        plan_run({"epochs": 1.5 if end == "stopped" else 2.0}, *folders, resume="one")
    assert plan_run({"epochs": 9.0}, *folders, resume="one").is_resumed
