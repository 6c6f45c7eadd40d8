"""The plan of a run: what is new, what a resumed run keeps, which names are refused."""

import pytest

from charnn.config import PrepareConfig, TrainConfig
from charnn.data.splits import split_text
from charnn.errors import UsageError
from charnn.storage.settings_file import dump_settings
from charnn.training.run_plan import plan_run
from tests.tiny import written_dataset


@pytest.fixture
def folders(tmp_path, text):
    """The folders of datasets and of runs; there is a dataset `lamp` and a run `one`."""
    written_dataset(tmp_path / "data" / "lamp", split_text(text, 0.1, 0))
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
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
    assert plan.changes == "changed settings: steps unset → 5"


def test_what_a_resumed_run_keeps_cannot_change(folders) -> None:
    """The network and the order of the data; a name would be that of a new run."""
    with pytest.raises(UsageError, match="hidden_size"):
        plan_run({"hidden_size": 3}, *folders, resume="one")
    with pytest.raises(UsageError, match="--name starts a new one"):
        plan_run({}, *folders, resume="one", name="two")
