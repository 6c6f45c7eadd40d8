"""Optimizers: parameter groups, weight decay, learning rate schedule."""

import math

import pytest

from charnn.config import TrainConfig
from charnn.training.events import Step
from charnn.training.loop import train
from charnn.training.optimizers import OPTIMIZERS, build_optimizers, lr_factor, rate_names, set_lr
from tests.training.test_loop import CPU, start

KINDS = pytest.mark.parametrize("kind", sorted(OPTIMIZERS))


def config_of(kind, **settings) -> TrainConfig:
    return TrainConfig(optimizer=kind, weight_decay=0.25, steps=100, **settings)


@KINDS
def test_every_weight_has_one_optimizer(make_model, kind) -> None:
    """AdamW and SGD decay matrices, but not biases."""
    model = make_model("lstm", 2)
    groups = [g for o in build_optimizers(model, config_of(kind), CPU) for g in o.param_groups]
    updated = [id(weight) for group in groups for weight in group["params"]]
    biases = [g["weight_decay"] for g in groups if any(w.ndim == 1 for w in g["params"])]

    assert sorted(updated) == sorted(id(weight) for weight in model.named_tensors().values())
    assert set(biases) == {0.0}
    assert 0.25 in [group.get("weight_decay") for group in groups]


@KINDS
def test_factor_scales_the_peak_of_every_group(make_model, kind) -> None:
    """Muon has one learning rate for matrices and one for other weights."""
    config = config_of(kind, lr=0.5, matrix_lr=0.125)
    optimizers = build_optimizers(make_model(), config, CPU)
    set_lr(optimizers, 0.5)
    rates = {group["lr"] for optimizer in optimizers for group in optimizer.param_groups}

    assert rates == {0.5 * getattr(config, name) for name in rate_names(config)}


def test_schedule_without_steps_is_the_warm_up() -> None:
    """A budget in minutes does not know its number of steps at first."""
    config = TrainConfig(warmup_steps=3, final_lr_frac=0.1, steps=100)

    assert [lr_factor(step, None, config) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert lr_factor(3, 100, config) == pytest.approx(1)
    assert lr_factor(100, 100, config) == pytest.approx(0.1)


def test_warm_up_and_cosine_decay(make_model, ids) -> None:
    """The rate rises for five steps, then decays to the given fraction of the peak."""
    rates = [e.lr for e in train(start(make_model(), ids, steps=100)) if isinstance(e, Step)]

    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert math.isclose(max(rates), 1e-2)
    assert math.isclose(rates[-1], 0.02e-2, rel_tol=0.05)
