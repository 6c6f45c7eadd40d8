"""The default model among readable and damaged runs."""

import os

import pytest

from charnn.config import TrainConfig
from charnn.errors import CharnnError, DataError
from charnn.model.model_file import ModelFile, write_model
from charnn.model.runs import open_model, run_damage
from charnn.storage import workspace
from charnn.storage.settings_file import dump_settings
from charnn.tokenizers.char import CharTokenizer
from tests.tiny import random_tensors, tiny_config


def truncate(path):
    path.write_bytes(path.read_bytes()[:-8])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def overwrite(path):
    path.write_text("just words")


def remove(path):
    path.unlink()


MODEL, CONFIG = workspace.MODEL_FILE, workspace.CONFIG_FILE
DAMAGE = [
    (MODEL, truncate),
    (MODEL, flip),
    (MODEL, overwrite),
    (MODEL, remove),
    (CONFIG, remove),
    (CONFIG, overwrite),
]
EVERY_DAMAGE = pytest.mark.parametrize(
    ("file", "damage"), DAMAGE, ids=lambda value: getattr(value, "__name__", value)
)


@pytest.fixture
def runs(tmp_path):
    """A folder with two finished runs of the dataset `lamp`, `old` and `new`."""
    tokenizer = CharTokenizer.build("abcdefghij")
    config = tiny_config(vocab_size=tokenizer.vocab_size)
    for seconds, name in enumerate(("old", "new")):
        run = tmp_path / name
        run.mkdir()
        write_model(run / MODEL, ModelFile(config, tokenizer, 0, random_tensors(config)))
        (run / CONFIG).write_text(dump_settings(TrainConfig(data="lamp")))
        (run / workspace.METRICS_FILE).write_text('{"step": 3, "final": true}\n')
        os.utime(run / MODEL, (seconds, seconds))
    return tmp_path


def test_the_default_is_the_newest_model(runs) -> None:
    """Nothing is skipped."""
    for argument in (None, "lamp", "new", str(runs / "new" / MODEL)):
        model = open_model(argument, runs)

        assert (model.name, model.note, model.skipped) == ("new", "", {})


@EVERY_DAMAGE
def test_a_damaged_run_is_skipped(runs, file, damage) -> None:
    """The note names it; without a model file there is nothing to skip."""
    damage(runs / "new" / file)
    model = open_model(None, runs)
    is_skipped = (runs / "new" / MODEL).exists()

    assert model.name == "old"
    assert list(model.skipped) == [runs / "new" / MODEL] * is_skipped
    assert model.note.startswith("skipped damaged runs: new (" if is_skipped else "")


def test_a_damaged_run_of_a_dataset_is_skipped(runs) -> None:
    """As by default, if the name of the dataset stands for its newest run."""
    truncate(runs / "new" / MODEL)

    assert open_model("lamp", runs).name == "old"


@EVERY_DAMAGE
def test_damage_names_the_file_and_a_remedy(runs, file, damage) -> None:
    """Also if only a weight has changed."""
    assert run_damage(runs / "new") is None
    damage(runs / "new" / file)
    error = run_damage(runs / "new")

    assert error is not None
    assert str(runs / "new" / file) in error.message
    assert "new" in error.hint


@EVERY_DAMAGE
def test_a_run_that_is_named_is_not_replaced_by_another(runs, file, damage) -> None:
    """Its model is used if it is readable, and its error reported if not."""
    damage(runs / "new" / file)
    if file == CONFIG:
        assert open_model("new", runs).name == "new"
    else:
        with pytest.raises(CharnnError, match=MODEL):
            open_model("new", runs)


def test_only_damaged_runs(runs) -> None:
    """The error is that of the newest."""
    for name in ("old", "new"):
        truncate(runs / name / MODEL)
    with pytest.raises(DataError, match="is damaged"):
        open_model(None, runs)


def test_a_model_alone_is_not_damaged(runs) -> None:
    """It was copied into the folder of runs without the other files."""
    for file in (CONFIG, workspace.METRICS_FILE):
        (runs / "new" / file).unlink()

    assert run_damage(runs / "new") is None
    assert open_model(None, runs).name == "new"
