"""Snapshots: a resumed run is bit-identical to an uninterrupted one."""

import pytest
import torch

from charnn.config import TrainConfig
from charnn.data.samplers import SAMPLERS
from charnn.errors import UsageError
from charnn.model.device import Arithmetic
from charnn.training.checkpoint import (
    load_newest,
    save_checkpoint,
)
from charnn.training.events import Step
from charnn.training.loop import TrainLoop, train
from charnn.training.optimizers import OPTIMIZERS
from charnn.training.snapshot import capture, restore

CPU = Arithmetic(torch.device("cpu"), "float32")


FINGERPRINT = "f" * 64


def start(make_model, ids, *, cell="lstm", sampler="sequential", **settings):
    settings = {"lr": 1e-2, "warmup_steps": 5, "steps": 40, "dropout": 0.3, **settings}
    config = TrainConfig(batch_size=4, bptt=8, cell=cell, sampler=sampler, **settings)
    model = make_model(cell, 2, between=0.3)
    tokens = SAMPLERS[sampler].from_config(config, ids, start_token=3)
    return TrainLoop(model, tokens, config, CPU)


def run_to(training, step):
    losses = []
    for event in train(training):
        if isinstance(event, Step):
            losses.append(event.loss)
            if event.step == step:
                break
    return losses


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_training_on_does_not_change_a_restored_snapshot(make_model, ids, optimizer) -> None:
    """Two roll-backs to the same state continue with the same bits."""
    settings = {"optimizer": optimizer, "average": True, "steps": 30}
    loop = start(make_model, ids, **settings)
    run_to(loop, 20)
    snapshot = capture(loop, FINGERPRINT)
    before = {name: tensor.clone() for name, tensor in snapshot.tensors.items()}
    losses = []
    for _ in range(2):
        restore(loop, snapshot, FINGERPRINT)
        losses.append(run_to(loop, 30))

    assert losses[0] == losses[1]
    assert all(torch.equal(before[name], snapshot.tensors[name]) for name in before)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_resume_is_bit_identical(make_model, ids, tmp_path, cell, sampler, optimizer) -> None:
    """Stopped at step 23, in the middle of an epoch, with dropout, warm-up and carried state."""
    settings = {"cell": cell, "sampler": sampler, "optimizer": optimizer}
    torch.manual_seed(9)
    whole = start(make_model, ids, **settings)
    expected = run_to(whole, 40)

    stopped = start(make_model, ids, **settings)
    first = run_to(stopped, 23)
    save_checkpoint(capture(stopped, FINGERPRINT), tmp_path)
    torch.manual_seed(1234)  # a new process has another random state
    resumed = start(make_model, ids, **settings)
    restore(resumed, load_newest(tmp_path)[0], FINGERPRINT)

    assert first + run_to(resumed, 40) == expected
    for a, b in zip(
        whole.model.named_tensors().values(), resumed.model.named_tensors().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert resumed.counters.tokens == whole.counters.tokens


@pytest.mark.parametrize("sampler", ["sequential", "random"])
def test_a_hidden_state_is_saved_only_if_it_is_read_again(make_model, ids, sampler) -> None:
    """Every batch of the random sampler begins with zeros."""
    loop = start(make_model, ids, sampler=sampler)
    run_to(loop, 3)
    has_state = any(name.startswith("hidden.") for name in capture(loop, FINGERPRINT).tensors)

    assert has_state == (sampler == "sequential")


def test_resume_without_hidden_state_differs(make_model, ids, tmp_path) -> None:
    """Control: the carried state is necessary for bit-identical resume."""
    stopped = start(make_model, ids)
    run_to(stopped, 23)
    save_checkpoint(capture(stopped, FINGERPRINT), tmp_path)
    expected = run_to(stopped, 30)
    resumed = start(make_model, ids)
    restore(resumed, load_newest(tmp_path)[0], FINGERPRINT)
    resumed.hidden = None

    assert run_to(resumed, 30) != expected


def test_different_dataset_or_shape_is_a_usage_error(make_model, ids, tmp_path) -> None:
    """The message names the difference, and nothing is restored."""
    training = start(make_model, ids)
    run_to(training, 1)
    save_checkpoint(capture(training, FINGERPRINT), tmp_path)
    checkpoint, _ = load_newest(tmp_path)

    with pytest.raises(UsageError, match="the dataset is not the one"):
        restore(start(make_model, ids), checkpoint, "0" * 64)
    with pytest.raises(UsageError, match="cell lstm → gru"):
        restore(start(make_model, ids, cell="gru"), checkpoint, FINGERPRINT)
