"""Rows E of the table of faults: an interrupted run ends like an uninterrupted one."""

import itertools
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from charnn.errors import DataError, UsageError
from charnn.model.model_file import read_model
from charnn.training import benchmark
from charnn.training.checkpoint import load_newest
from charnn.training.events import Evaluation, Step
from charnn.training.loop import LOG_EVERY
from charnn.training.optimizers import OPTIMIZERS
from charnn.training.time_budget import STARTUP_RESERVE
from tests.reliability.conftest import logged_events, same, weights

TIMES = ("seconds", "tokens_per_second")


def whole_run(new_trainer, **settings):
    """Return an uninterrupted run."""
    trainer = new_trainer("whole", **settings)
    for _ in trainer.events():
        pass
    return trainer


def stopped_and_resumed(new_trainer, events, name="stopped", **settings):
    """Stop a run after some events and resume it with new objects, as a new process would."""
    first = new_trainer(name, **settings)
    last = list(itertools.islice(logged_events(first), events))[-1]
    first.save()
    torch.manual_seed(1234)  # another process has other generator states
    random.seed(5)
    np.random.seed(5)
    resumed = new_trainer(name, create=False, **settings)
    resumed.resume()
    for _ in resumed.events():
        pass
    return resumed, last


def rows(trainer):
    """Return the rows of metrics.jsonl without times."""
    lines = (trainer.folder.path / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in TIMES}
        for line in lines
    ]


def assert_same_outcome(one, other):
    assert same(weights(one), weights(other))
    assert rows(one) == rows(other)
    assert read_model(one.folder.model_path).sha256 == read_model(other.folder.model_path).sha256
    for name in ("tokens", "best_loss", "best_step", "evaluations_since_best"):
        assert getattr(one.loop.counters, name) == getattr(other.loop.counters, name)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_e1_resume_is_bit_identical(new_trainer, optimizer) -> None:
    """Weights, best model and metrics are those of an uninterrupted run."""
    settings = {"optimizer": optimizer, "average": True, "random_bptt": True}
    whole = whole_run(new_trainer, **settings)
    resumed, _ = stopped_and_resumed(new_trainer, 17, **settings)

    assert_same_outcome(whole, resumed)


def test_e1_resume_is_bit_identical_after_any_event(new_trainer) -> None:
    """After a step, a step whose validation is due, a validation, the last event."""
    settings = {"steps": 12, "eval_every": 4, "warmup_steps": 3}
    whole = whole_run(new_trainer, **settings)
    kinds = set()
    for events in range(1, 16):
        resumed, last = stopped_and_resumed(new_trainer, events, f"at-{events}", **settings)
        kinds.add(type(last))
        assert_same_outcome(whole, resumed)

    assert kinds == {Step, Evaluation}


def test_e1_early_stopping_is_at_the_same_step(new_trainer) -> None:
    """A validation that was due when the run stopped still counts."""
    settings = {"eval_every": 2, "patience": 2, "lr": 0.5, "steps": 40}
    whole = whole_run(new_trainer, **settings)
    assert whole.loop.counters.step < 40  # training stopped early
    for events in range(1, whole.loop.counters.step + 3, 2):
        resumed, _ = stopped_and_resumed(new_trainer, events, f"at-{events}", **settings)
        assert_same_outcome(whole, resumed)


def test_e1_rows_logged_after_the_last_save_are_not_repeated(new_trainer) -> None:
    """Killed after a validation, with a checkpoint from just before it."""
    settings = {"steps": 12, "eval_every": 4, "save_every": 8}
    whole = whole_run(new_trainer, **settings)
    first = new_trainer("killed", **settings)
    for event in first.events():
        if isinstance(event, Evaluation) and event.step == 8:
            break
    assert load_newest(first.folder.path)[0].header.counters.evaluated_at == 4
    resumed = new_trainer("killed", create=False, **settings)
    resumed.resume()
    for _ in resumed.events():
        pass

    assert_same_outcome(whole, resumed)


def test_e1_training_does_not_use_the_generators_of_python_or_numpy(new_trainer) -> None:
    """A checkpoint does not need to hold them."""
    before = random.getstate(), str(np.random.get_state())
    whole_run(new_trainer, sampler="random", sample_every=10)

    assert (random.getstate(), str(np.random.get_state())) == before


@pytest.mark.parametrize("sampler", ["sequential", "random"])
def test_e2_resume_in_the_middle_of_an_epoch_is_exact(new_trainer, sampler) -> None:
    """Position, hidden state of each stream and dropout continue unchanged."""
    settings = {"sampler": sampler, "epochs": 2.0, "steps": None, "batch_size": 8}
    whole = whole_run(new_trainer, **settings)
    resumed, _ = stopped_and_resumed(new_trainer, 13, **settings)

    assert whole.loop.sampler.batches_in(0) > 13
    assert_same_outcome(whole, resumed)


def test_e2_resume_without_the_hidden_state_differs(new_trainer) -> None:
    """Control: the carried state is necessary for exact resume."""
    whole = whole_run(new_trainer)
    first = new_trainer("stopped")
    for _ in itertools.islice(logged_events(first), 7):
        pass
    first.save()
    resumed = new_trainer("stopped", create=False)
    resumed.resume()
    resumed.loop.hidden = None
    for _ in resumed.events():
        pass

    assert not same(weights(whole), weights(resumed))


def test_e4_intervals_do_not_affect_the_training(new_trainer) -> None:
    """Validation, saving and sampling at any interval give the same final weights."""
    whole = whole_run(new_trainer)
    settings = {"eval_every": 7, "save_every": 4, "sample_every": 5}
    busy = new_trainer("busy", **settings)
    for _ in busy.events():
        pass

    assert same(weights(whole), weights(busy))
    train = [row for row in rows(busy) if row["split"] == "train"]
    assert train == [row for row in rows(whole) if row["split"] == "train"]
    assert [row["step"] for row in train] == [LOG_EVERY, 2 * LOG_EVERY, 3 * LOG_EVERY]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": 9}, "hidden_size 8 → 9"),
        ({"cell": "gru"}, "cell lstm → gru"),
        ({"num_layers": 2}, "num_layers 1 → 2"),
        ({"batch_size": 2}, "batch_size 4 → 2"),
        ({"bptt": 4}, "bptt 8 → 4"),
        ({"sampler": "random"}, "sampler sequential → random"),
        ({"seed": 2}, "seed 1 → 2"),
        ({"optimizer": "sgd"}, "optimizer adamw → sgd"),
    ],
    ids=str,
)
def test_e6_another_shape_or_order_of_the_data_is_refused(new_trainer, change, said) -> None:
    """Exit code 2 with the difference; the run is unchanged and can still be resumed."""
    first = new_trainer()
    for _ in itertools.islice(logged_events(first), 3):
        pass
    first.save()

    with pytest.raises(UsageError, match=said):
        new_trainer(create=False, **change).resume()
    new_trainer(create=False).resume()


def test_e6_another_dataset_is_refused_with_both_fingerprints(trained) -> None:
    """Exit code 2, also for a dataset of the same name prepared again with another tokenizer."""
    trained.run("prepare", "lamp.txt", "--force", "--tokenizer", "byte", "-q")
    said = ("the dataset is not the one", " → ", "--init-from")
    trained.refused("train", "--resume", "lamp-lstm-001", "--steps", "9", code=2, said=said)


def test_e6_more_steps_and_other_intervals_are_allowed_and_reported(trained) -> None:
    """The run continues and prints what has changed."""
    done = trained.run("train", "--resume", "lamp-lstm-001", "--steps", "8", "--eval-every", "2")

    assert "changed settings: steps 6 → 8, eval_every unset → 2" in done.stderr
    assert "steps: 8" in (trained.folder / "runs/lamp-lstm-001/config.yaml").read_text()


def test_e7_a_checkpoint_of_another_format_version_is_refused(new_trainer) -> None:
    """65 with both versions and what to do instead; it is never resumed inexactly."""
    trainer = new_trainer()
    folder = trainer.save().folder
    state = json.loads((folder / "state.json").read_text())
    rewrite(folder, {**state, "format_version": 1})

    with pytest.raises(DataError, match="format 1; this version of charnn reads 2") as refusal:
        new_trainer(create=False).resume()
    assert "--init-from" in refusal.value.hint


def rewrite(folder, state):
    """Replace state.json and update the manifest."""
    from charnn.storage import atomic, jsonio

    data = jsonio.to_json(state).encode()
    (folder / "state.json").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["state.json"] = {"bytes": len(data), "sha256": atomic.sha256(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_e8_resume_and_init_from_are_exclusive(trained) -> None:
    """Each has its own flag and help text."""
    shown = trained.run("train", "--help").stdout.decode()
    words = " ".join(shown.replace("│", " ").split())
    assert "Resume a run from its last checkpoint." in words
    assert "Start a new run from the weights of this model." in words
    trained.refused(
        *("train", "--resume", "lamp-lstm-001", "--init-from", "lamp-lstm-001"),
        code=2,
        said=("--init-from starts a new one",),
    )
    trained.refused(
        *("train", "--resume", "lamp-lstm-001", "--hidden-size", "9"),
        code=2,
        said=("hidden_size", "--init-from"),
    )


def test_e8_a_different_value_of_a_fixed_setting_is_refused(trained) -> None:
    """The value of the run itself is accepted."""
    shown = trained.refused(
        *("train", "--resume", "lamp-lstm-001", "--bptt", "9", "--steps", "9"),
        code=2,
        said=("bptt 64 → 9", "--init-from"),
    )
    assert "changed settings" not in shown
    trained.run("train", "--resume", "lamp-lstm-001", "--bptt", "64", "--steps", "7", "-q")


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_e1_a_run_killed_at_random_moments_is_bit_identical(tmp_path, kills) -> None:
    """After all resumes: weights, optimizer, best model and log of an uninterrupted run."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.kill_loop", str(tmp_path), str(kills), "1"],
        capture_output=True,
        encoding="utf-8",
    )
    found = json.loads(done.stdout.splitlines()[-1])

    assert found["same"], done.stderr
    assert found["kills"] > kills / 2


@pytest.fixture
def _indifferent_again():
    """Reset determinism, which is a setting of the process, after the test."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_indifferent_again")
def test_e1_a_deterministic_run_is_reproducible(new_trainer, monkeypatch) -> None:
    """Same seed, machine and threads; no decision depends on a clock, including the precision."""
    monkeypatch.setattr(benchmark, "_time_updates", lambda *_: pytest.fail("timed"))
    outcomes = []
    for name in ("one", "two"):
        trainer = new_trainer(name, deterministic=True, precision="auto", optimizer="muon")
        for _ in trainer.events():
            pass
        outcomes.append((weights(trainer), trainer.config.precision, rows(trainer)))

    assert same(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1:] == outcomes[1][1:]
    assert outcomes[0][1] == "float32"


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
@pytest.mark.parametrize("one", ["bfloat16", "float32"])
def test_e6_a_run_resumes_in_another_precision(new_trainer, one, cell) -> None:
    """For example on a machine without bfloat16: the carried state is converted."""
    other = {"bfloat16": "float32", "float32": "bfloat16"}[one]
    first = new_trainer(precision=one, cell=cell)
    list(itertools.islice(logged_events(first), 9))
    first.save()
    resumed = new_trainer(create=False, precision=other, cell=cell)
    resumed.resume()
    assert resumed.loop.hidden is not None
    for mine, theirs in zip(first.loop.hidden, resumed.loop.hidden, strict=True):
        torch.testing.assert_close(mine.float(), theirs)
    for _ in resumed.events():
        pass

    assert resumed.loop.counters.step == resumed.loop.budget.steps == 30


def test_e6_minutes_on_resuming_are_the_budget_of_the_whole_run(new_trainer) -> None:
    """A finished run continues for the remaining minutes, and its schedule follows."""
    done = whole_run(new_trainer, warmup_steps=0)
    seconds = done.loop.counters.seconds
    minutes = (3 * seconds + STARTUP_RESERVE) / 60
    longer = new_trainer("whole", create=False, warmup_steps=0, steps=None, minutes=minutes)
    longer.resume()
    steps = [event for event in longer.events() if isinstance(event, Step)]

    assert steps[0].lr == pytest.approx(0.755 * longer.config.lr, rel=0.05)  # a third of the way
    assert longer.loop.counters.step == longer.loop.budget.steps > done.loop.budget.steps
    assert longer.loop.counters.seconds == pytest.approx(3 * seconds, rel=0.3)


def test_e6_a_resumed_run_validates_on_the_same_text(new_trainer) -> None:
    """For any new length of the run: only losses on the same text are comparable."""
    first = new_trainer()
    first.loop.budget.fraction = 0.34
    list(itertools.islice(logged_events(first), 9))
    first.save()
    resumed = new_trainer(create=False, steps=4000)
    resumed.resume()

    assert resumed.loop.budget.fraction == 0.34


def test_e6_a_new_learning_rate_is_not_scaled_by_earlier_roll_backs(new_trainer) -> None:
    """After three roll-backs the remedy is a lower --lr, which applies unscaled."""
    first = new_trainer()
    first.loop.counters.lr_scale = 0.125
    first.save()
    for new_rates, expected in ((False, 0.125), (True, 1.0)):
        resumed = new_trainer(create=False, lr=1e-3)
        resumed.resume(new_rates=new_rates)
        assert resumed.loop.counters.lr_scale == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.usefixtures("_indifferent_again")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_e3_resume_on_a_gpu_is_bit_identical(new_trainer, optimizer, precision) -> None:
    """Two layers, dropout between them, --deterministic."""
    settings = {"device": "cuda", "num_layers": 2, "deterministic": True}
    settings |= {"optimizer": optimizer, "precision": precision}
    whole = whole_run(new_trainer, **settings)
    resumed, _ = stopped_and_resumed(new_trainer, 17, **settings)

    assert_same_outcome(whole, resumed)
