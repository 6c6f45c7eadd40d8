"""A training as an iterator of events: locks, checkpoints, result."""

import contextlib
import time

import pytest

from charnn.data.splits import split_text
from charnn.errors import BusyError, UsageError
from charnn.storage.lock import Lock, is_locked
from charnn.training.events import Noted, Result, Step
from charnn.training.run_plan import plan_run
from charnn.training.training import Training
from tests.tiny import written_dataset

TINY = {
    "hidden_size": 8,
    "embedding_dim": 4,
    "batch_size": 4,
    "bptt": 8,
    "precision": "float32",
    "threads": 1,
}


@pytest.fixture
def plan(tmp_path, text):
    """A function that plans a run `one` of a small dataset, or resumes it."""
    written_dataset(tmp_path / "data" / "lamp", split_text(text, 0.1, 0))

    def plan(steps=12, minutes=None, **names):
        settings = {"minutes": minutes} if minutes else {"steps": steps}
        settings |= {} if "resume" in names else TINY
        return plan_run(settings, tmp_path / "data", tmp_path / "runs", **names)

    return plan


def test_the_last_event_is_the_result(plan) -> None:
    """The first events are notes about what was chosen."""
    events = list(Training(plan(name="one"), baselines=False))

    assert isinstance(events[0], Noted)
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 13))
    assert isinstance(events[-1], Result)
    assert events[-1].steps == 12


def test_run_and_dataset_are_locked_during_training(plan, tmp_path) -> None:
    """Other trainings may read the dataset, and nobody may replace it."""
    training = Training(plan(name="one"))
    events = iter(training)
    assert not isinstance(next(e for e in events if not isinstance(e, Noted)), Result)
    assert is_locked(training.folder)
    with pytest.raises(BusyError), Lock(tmp_path / "data", "lamp"):
        pass
    with pytest.raises(BusyError, match="in use"):
        Training(plan(name="one")).run()
    with Lock(tmp_path / "data", "lamp", shared=True):
        pass
    events.close()

    assert not is_locked(training.folder)
    assert not list((tmp_path / "data").glob(".lock*"))


def test_leaving_the_loop_saves_a_checkpoint(plan) -> None:
    """The rest of the run is trained on resuming; the steps of both are those of one run."""
    steps = []
    with contextlib.closing(iter(Training(plan(name="one")))) as events:
        for event in events:
            if isinstance(event, Step):
                steps.append(event.step)
                if event.step == 5:
                    break
    resumed = list(Training(plan(resume="one")))
    steps += [event.step for event in resumed if isinstance(event, Step)]

    assert steps == list(range(1, 13))
    assert isinstance(resumed[-1], Result)


def test_a_run_without_a_step_is_removed(plan) -> None:
    """There is nothing to resume. A resumed run stays."""
    with Training(plan(name="one")) as training:
        assert training.folder.exists()
    assert not training.folder.exists()
    Training(plan(name="one"), baselines=False).run()
    with Training(plan(resume="one", steps=20)) as resumed:
        pass

    assert (resumed.folder / "model.safetensors").exists()


def test_a_short_budget_is_exceeded_with_a_note(plan, monkeypatch) -> None:
    """Once, before the only step; there are no baselines."""
    began = time.perf_counter() - 5
    training = Training(plan(name="one", minutes=0.05), began)
    *events, result = list(training)
    notes = [event.message for event in events if isinstance(event, Noted)]

    assert [note[:14] for note in notes if "--minutes" in note] == ["start-up took "]
    assert result.steps == 1
    assert result.baselines == {}


def test_a_name_that_is_taken_is_refused(plan) -> None:
    """When the run is planned, and if another run took the name since then, when it begins."""
    late = plan(name="one")
    Training(plan(name="one"), baselines=False).run()
    with pytest.raises(UsageError, match="already exists"):
        plan(name="one")
    with pytest.raises(UsageError, match="already exists") as caught:
        Training(late).run()

    assert caught.value.hint == "give another name, resume it, or replace it with force"
    assert Training(plan(name="one", force=True), force=True).run().steps == 12
