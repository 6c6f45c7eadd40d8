"""Exact resume: N + M steps in one go equal N, a new process's objects, then M, bit for bit."""

import json

import pytest
import torch

from charnn.config import TrainConfig
from charnn.data.samplers import SAMPLERS
from charnn.errors import DataError, UsageError
from charnn.model.device import Arithmetic
from charnn.training.checkpoint import (
    KEEP,
    MANIFEST_FILE,
    STATE_FILE,
    TENSORS_FILE,
    checkpoint_folders,
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
    settings = {"lr": 1e-2, "warmup_steps": 5, "steps": 60, "dropout": 0.3, **settings}
    config = TrainConfig(batch_size=4, bptt=8, cell=cell, sampler=sampler, **settings)
    model = make_model(cell, 2, between=0.3)
    return TrainLoop(model, SAMPLERS[sampler](ids, 4, 8, 1), config, CPU)


def run_to(training, step):
    losses = []
    for event in train(training):
        if isinstance(event, Step):
            losses.append(event.loss)
            if event.step == step:
                break
    return losses


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_e1_e2_resuming_repeats_the_uninterrupted_run_bit_for_bit(
    make_model, ids, tmp_path, cell, sampler, optimizer
) -> None:
    """Stopped at step 23, in the middle of an epoch, with dropout, warm-up and carried state."""
    settings = {"cell": cell, "sampler": sampler, "optimizer": optimizer}
    torch.manual_seed(9)
    whole = start(make_model, ids, **settings)
    expected = run_to(whole, 60)

    stopped = start(make_model, ids, **settings)
    first = run_to(stopped, 23)
    save_checkpoint(capture(stopped, FINGERPRINT), tmp_path)
    torch.manual_seed(1234)  # another process would stand elsewhere
    resumed = start(make_model, ids, **settings)
    restore(resumed, load_newest(tmp_path)[0], FINGERPRINT)

    assert first + run_to(resumed, 60) == expected
    for a, b in zip(
        whole.model.named_tensors().values(), resumed.model.named_tensors().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert resumed.counters.tokens == whole.counters.tokens


def test_e2_without_the_hidden_state_the_run_would_differ(make_model, ids, tmp_path) -> None:
    """The control: the carried state is part of what makes a resume exact."""
    stopped = start(make_model, ids)
    run_to(stopped, 23)
    save_checkpoint(capture(stopped, FINGERPRINT), tmp_path)
    expected = run_to(stopped, 30)
    resumed = start(make_model, ids)
    restore(resumed, load_newest(tmp_path)[0], FINGERPRINT)
    resumed.hidden = None

    assert run_to(resumed, 30) != expected


def test_only_the_newest_checkpoints_are_kept(make_model, ids, tmp_path) -> None:
    """Older ones go when a newer one is complete."""
    training = start(make_model, ids)
    for step in (1, 2, 3):
        run_to(training, step)
        save_checkpoint(capture(training, FINGERPRINT), tmp_path)

    names = [folder.name for folder in checkpoint_folders(tmp_path)]
    assert names == ["step-00000002", "step-00000003"]
    assert len(names) == KEEP


@pytest.mark.parametrize("name", [TENSORS_FILE, STATE_FILE, MANIFEST_FILE])
@pytest.mark.parametrize("size", [0, 1, 8, 100, -1])
def test_c1_a_truncated_checkpoint_gives_way_to_the_one_before(
    make_model, ids, tmp_path, name, size
) -> None:
    """Whatever file is cut wherever, the earlier checkpoint is used and the damage is told."""
    training = start(make_model, ids)
    for step in (1, 2):
        run_to(training, step)
        save_checkpoint(capture(training, FINGERPRINT), tmp_path)
    victim = checkpoint_folders(tmp_path)[-1] / name
    victim.write_bytes(victim.read_bytes()[:size])

    checkpoint, faults = load_newest(tmp_path)
    assert checkpoint.header.counters.step == 1
    assert len(faults) == 1


def test_c2_a_flipped_bit_is_found(make_model, ids, tmp_path) -> None:
    """With one checkpoint left and one bit wrong there is nothing to resume: DataError."""
    training = start(make_model, ids)
    run_to(training, 1)
    folder = save_checkpoint(capture(training, FINGERPRINT), tmp_path)
    data = bytearray((folder / TENSORS_FILE).read_bytes())
    data[-5] ^= 1
    (folder / TENSORS_FILE).write_bytes(data)

    with pytest.raises(DataError, match="does not match its manifest"):
        load_newest(tmp_path)


def test_e6_another_dataset_or_shape_is_refused_with_the_difference(
    make_model, ids, tmp_path
) -> None:
    """The message names what differs; nothing is loaded."""
    training = start(make_model, ids)
    run_to(training, 1)
    save_checkpoint(capture(training, FINGERPRINT), tmp_path)
    checkpoint, _ = load_newest(tmp_path)

    with pytest.raises(UsageError, match="another dataset"):
        restore(start(make_model, ids), checkpoint, "0" * 64)
    with pytest.raises(UsageError, match="cell lstm → gru"):
        restore(start(make_model, ids, cell="gru"), checkpoint, FINGERPRINT)


def test_nothing_in_a_checkpoint_is_a_pickle(make_model, ids, tmp_path) -> None:
    """JSON and safetensors alone."""
    training = start(make_model, ids)
    run_to(training, 1)
    folder = save_checkpoint(capture(training, FINGERPRINT), tmp_path)

    assert sorted(p.name for p in folder.iterdir()) == [MANIFEST_FILE, STATE_FILE, TENSORS_FILE]
    assert json.loads((folder / STATE_FILE).read_text())["counters"]["step"] == 1
    assert not (folder / TENSORS_FILE).read_bytes().startswith((b"PK", b"\x80"))
