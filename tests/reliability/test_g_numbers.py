"""Rows G of the table of faults: values that are not finite are detected, and nothing is lost."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch

from charnn.config import ModelConfig
from charnn.errors import CharnnError, DivergedError
from charnn.model.device import memory_explained
from charnn.model.model_file import ModelFile, read_model, write_model
from charnn.storage.workspace import checkpoint_folders
from charnn.tokenizers.char import CharTokenizer
from charnn.training import loop
from charnn.training.checkpoint import load_newest
from charnn.training.events import Step, Warned
from charnn.training.loop import MAX_SKIPPED, TrainLoop
from charnn.training.snapshot import capture, restore
from charnn.training.trainer import MAX_ROLLBACKS, Trainer
from tests.reliability.conftest import same, weights
from tests.tiny import random_tensors

RUN = "lamp-lstm-001"


def spoil_loss(monkeypatch, value, steps):
    """Replace the loss of these calls by `value`; counting continues after a roll-back."""
    mean_nats, calls = loop.mean_nats, itertools.count(1)

    def spoiled(*arguments):
        loss = mean_nats(*arguments)
        return loss * value if next(calls) in steps else loss

    monkeypatch.setattr(loop, "mean_nats", spoiled)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_g1_a_loss_that_is_not_finite_does_not_change_the_weights(
    new_trainer, monkeypatch, value
) -> None:
    """One roll-back to the last good state with half the learning rate, then on to the end."""
    trainer = new_trainer(eval_every=1)
    before = None
    spoil_loss(monkeypatch, value, {8})
    warned = []
    for event in trainer.events():
        if isinstance(event, Step) and event.step == 7 and before is None:
            before = weights(trainer)
        if isinstance(event, Warned):
            warned.append(event.message)
            assert same(weights(trainer), before)

    assert len(warned) == 1
    assert "diverged at step 8" in warned[0]
    assert "back to step 7" in warned[0]
    assert trainer.loop.counters.step == 30


def test_g1_a_gradient_that_is_not_finite_is_detected(new_trainer, monkeypatch) -> None:
    """By its norm, which clipping computes, even if the loss is finite."""
    trainer = new_trainer()
    clip = torch.nn.utils.clip_grad_norm_
    calls = itertools.count(1)
    monkeypatch.setattr(
        torch.nn.utils,
        "clip_grad_norm_",
        lambda *a: clip(*a) * (float("nan") if next(calls) == 8 else 1),
    )
    warned = [event for event in trainer.events() if isinstance(event, Warned)]

    assert len(warned) == 1
    assert "gradient norm nan" in warned[0].message


def test_g1_repeated_divergence_exits_with_3(trained, monkeypatch) -> None:
    """The last good state is saved and can be resumed; model and log contain nothing after it."""
    model = trained.folder / "runs" / RUN / "model.safetensors"
    before = read_model(model).sha256
    with monkeypatch.context() as patch:
        spoil_loss(patch, float("nan"), range(4, 1000))
        message = trained.refused(
            *("train", "--resume", RUN, "--steps", "40", "--eval-every", "100", "-q"),
            code=3,
            said=("diverged", "--lr", RUN),
        )
    assert "charnn train --resume" in message
    state, faults = load_newest(trained.folder / "runs" / RUN)
    assert not faults
    assert state.header.counters.step == 6
    assert state.header.counters.lr_scale == 0.5**MAX_ROLLBACKS
    assert read_model(model).sha256 == before
    trained.run("train", "--resume", RUN, "--steps", "9", "-q")


@pytest.mark.parametrize("save_every", [1, None], ids=["each-step", "at-the-end"])
def test_g1_weights_that_are_not_finite_are_never_saved(new_trainer, save_every) -> None:
    """They count as a divergence, so that no good checkpoint is replaced."""
    trainer = new_trainer(save_every=save_every, eval_every=5)
    for event in trainer.events():
        if isinstance(event, Step) and event.step == 6 and trainer.loop.counters.lr_scale == 1:
            with torch.no_grad():
                trainer.loop.model.output.bias[0] = float("nan")

    assert trainer.loop.counters.lr_scale == 0.5
    for folder in checkpoint_folders(trainer.folder.path):
        assert "step-000000" in folder.name
    state, _ = load_newest(trainer.folder.path)
    assert all(t.isfinite().all() for name, t in state.tensors.items() if "model" in name)


def test_g1_saving_weights_that_are_not_finite_is_refused(new_trainer) -> None:
    """Earlier checkpoints are kept."""
    trainer = new_trainer()
    trainer.save()
    before = [path.name for path in checkpoint_folders(trainer.folder.path)]
    with torch.no_grad():
        trainer.loop.model.embedding.weight[0, 0] = float("inf")
    trainer.loop.counters.step = 9

    with pytest.raises(DivergedError, match=r"embedding\.weight is not finite"):
        trainer.save()
    assert [path.name for path in checkpoint_folders(trainer.folder.path)] == before


def test_g3_an_overflow_of_float16_skips_the_step(new_trainer, monkeypatch) -> None:
    """The loss scale is halved, the weights are unchanged; only many in a row are a divergence."""
    training = new_trainer().loop
    training.scaler = torch.amp.GradScaler("cpu", enabled=True)
    spoil_loss(monkeypatch, float("inf"), set(range(3, 3 + MAX_SKIPPED - 1)))
    training.update()
    training.update()
    before = [t.detach().clone() for t in training.model.named_tensors().values()]
    scale = training.scaler.get_scale()
    training.update()
    assert same(before, list(training.model.named_tensors().values()))
    assert training.scaler.get_scale() < scale
    assert training.counters.loss_count == 2
    for _ in range(MAX_SKIPPED):
        training.update()
    assert training.counters.skipped == 0

    spoil_loss(monkeypatch, float("inf"), set(range(1, 1000)))
    for _ in range(MAX_SKIPPED - 1):
        training.update()
    with pytest.raises(DivergedError):
        training.update()


def test_g3_an_overflow_in_one_optimizer_skips_the_step_of_all(new_trainer, monkeypatch) -> None:
    """If only parameters of AdamW overflow, Muon skips the step too; the next step is normal."""
    training = new_trainer(optimizer="muon").loop
    training.scaler = torch.amp.GradScaler("cpu", enabled=True)
    training.update()
    before = [t.detach().clone() for t in training.model.named_tensors().values()]
    bias = training.model.output.bias
    handle = bias.register_hook(lambda gradient: gradient * float("inf"))
    training.update()
    handle.remove()
    assert same(before, list(training.model.named_tensors().values()))
    training.update()
    assert not same(before, list(training.model.named_tensors().values()))
    assert training.counters.skipped == 0


def test_g3_training_continues_after_a_divergence_in_float16(new_trainer, monkeypatch) -> None:
    """The gradient scaler is reset with the state."""
    trainer = new_trainer(optimizer="muon")
    training = trainer.loop
    training.scaler = torch.amp.GradScaler("cpu", enabled=True)
    good = capture(training, trainer.dataset.fingerprint)
    spoil_loss(monkeypatch, float("inf"), set(range(1, MAX_SKIPPED + 1)))
    for _ in range(MAX_SKIPPED - 1):
        training.update()
    with pytest.raises(DivergedError):
        training.update()
    restore(training, good, trainer.dataset.fingerprint)

    assert training.counters.skipped == 0
    assert np.isfinite(training.update()[0])


def test_g1_without_validation_a_divergence_rolls_back_to_a_recent_snapshot(
    new_trainer, dataset, monkeypatch
) -> None:
    """Not to the start; checkpoints are kept."""
    monkeypatch.setattr("charnn.training.trainer.SNAPSHOT_STEPS", 5)
    monkeypatch.setattr(
        "tests.reliability.conftest.Trainer",
        functools.partial(_without_val, Trainer),
    )
    trainer = new_trainer(save_every=4)
    spoil_loss(monkeypatch, float("nan"), set(range(23, 23 + MAX_ROLLBACKS + 1)))
    with pytest.raises(DivergedError) as given_up:
        list(trainer.events())

    assert "from step 20: charnn train --resume" in given_up.value.hint
    assert [folder.name for folder in checkpoint_folders(trainer.folder.path)] == [
        "step-00000016",
        "step-00000020",
    ]
    assert read_model(trainer.folder.model_path).metrics["step"] == 20


def _without_val(kind, dataset, *arguments):
    splits = {"train": dataset.splits["train"]}
    return kind(dataclasses.replace(dataset, splits=splits), *arguments)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("... can't allocate memory: ...")],
    ids=["cuda", "cpu"],
)
def test_g4_out_of_memory_suggests_smaller_settings(trained, monkeypatch, error) -> None:
    """1, with the batch size and a smaller one; the checkpoint is unchanged."""

    def fail(_):
        raise error

    monkeypatch.setattr(TrainLoop, "update", fail)
    message = trained.refused(
        "train", "--resume", RUN, "--steps", "40", "-q", code=1, said="out of memory at batch size"
    )

    assert "--batch-size" in message
    assert load_newest(trained.folder / "runs" / RUN)[0].header.counters.step == 6
    with pytest.raises(RuntimeError, match="something else"), memory_explained("", ""):
        raise RuntimeError("something else")
    with pytest.raises(CharnnError), memory_explained("", ""):
        raise error


def test_g4_a_network_that_does_not_fit_is_reported(trained, monkeypatch) -> None:
    """When it is built, before a run folder is created."""

    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")

    monkeypatch.setattr("charnn.training.loop.LanguageModel", fail)
    trained.refused("train", "--steps", "1", code=1, said=("out of memory", "a smaller model"))
    assert [path.name for path in (trained.folder / "runs").iterdir()] == [RUN]


def test_g4_the_hint_names_options_of_the_command(trained, monkeypatch) -> None:
    """1; `sample`, which has no --batch-size, does not suggest it."""

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("charnn.generation.generate.initial_context", fail)
    assert "--batch-size" not in trained.refused("sample", "-q", code=1, said="out of memory")


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e4, 1e14], ids=str)
def test_g5_sampling_works_with_extreme_values(charnn, scale) -> None:
    """Temperatures, filters, huge and tiny weights, a vocabulary of one: text and no error."""
    for text in ("a", "ab\n"):
        tokenizer = CharTokenizer.build(text)
        config = ModelConfig(hidden_size=3, embedding_dim=2, vocab_size=tokenizer.vocab_size)
        tensors = random_tensors(config)
        tensors = {name: (tensor * scale).astype(np.float32) for name, tensor in tensors.items()}
        write_model(charnn.folder / "m.safetensors", ModelFile(config, tokenizer, 0, tensors))
        for options in (
            ("--temp", "1e-9"),
            ("--temp", "1e9"),
            ("--temp", "0"),
            ("--top-k", "1"),
            ("--top-p", "1e-9"),
            ("--min-p", "1"),
            ("--repetition-penalty", "1e6"),
            ("--repetition-penalty", "1e-6"),
            ("--temp", "1e-300", "--top-p", "0.5", "--min-p", "0.5", "--top-k", "1"),
        ):
            done = charnn.run("sample", "m.safetensors", "-n", "20", "--seed", "1", *options)
            letters = done.stdout.decode().removesuffix("\n") if text == "a" else ""
            assert letters in ("", "a" * 20)
