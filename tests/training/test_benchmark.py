"""The benchmark of a machine: precision, speed, fallbacks."""

import itertools

import numpy as np
import pytest
import torch

from charnn.config import TrainConfig
from charnn.errors import UsageError
from charnn.training import benchmark
from charnn.training.benchmark import measure_machine
from charnn.training.loop import TrainLoop

TOKENS = np.random.default_rng(1).integers(0, 20, 3000).astype(np.uint8)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(benchmark, "BENCHMARK_SECONDS", 0.0)


def config(precision="auto", hidden_size=8, **settings):
    shape = {"hidden_size": hidden_size, "embedding_dim": 4, "batch_size": 4, "bptt": 8}
    return TrainConfig(precision=precision, **shape, **settings)


def measured(*args, speed=False, **settings):
    return measure_machine(config(*args, **settings), TOKENS, 20, speed=speed)


def slowdown(monkeypatch, factor):
    """Make matrix products in bfloat16 take this many times as long as in float32."""
    monkeypatch.setattr(benchmark, "bfloat16_slowdown", lambda: factor)


def update_seconds(monkeypatch, *seconds):
    """Make the updates take these times, again and again."""
    times = itertools.cycle(seconds)
    monkeypatch.setattr(benchmark, "_seconds_of_update", lambda _: next(times))


def test_speed_is_that_of_whole_updates_of_the_network() -> None:
    """A network with 64 times the operations takes several times as long."""
    narrow, wide = (
        measured("float32", hidden_size=width, speed=True).tokens_per_minute for width in (64, 512)
    )

    assert narrow > 3 * wide > 0


def test_a_slow_optimizer_counts(monkeypatch) -> None:
    """The optimizer of the run is part of the timed update."""
    kinds = []
    update = TrainLoop.update

    def recorded(loop):
        kinds.append(type(loop.optimizers[0]).__name__)
        return update(loop)

    monkeypatch.setattr(TrainLoop, "update", recorded)
    measured("float32", optimizer="muon", speed=True)

    assert kinds[:2] == ["GateMuon", "GateMuon"]


def test_benchmark_keeps_the_random_state(monkeypatch) -> None:
    """The weights of a seed are the same with and without a benchmark before."""
    slowdown(monkeypatch, 0.5)
    torch.manual_seed(1)
    expected = torch.rand(5)
    torch.manual_seed(1)
    measured(speed=True)

    assert torch.equal(torch.rand(5), expected)


def test_slow_products_exclude_bfloat16_before_any_update(monkeypatch) -> None:
    """On a CPU without its instructions, even one update would take seconds. The note says why."""
    slowdown(monkeypatch, 4.0)
    monkeypatch.setattr(benchmark, "_loops", lambda *_: pytest.fail("timed"))
    machine = measured()

    assert machine.arithmetic.precision == "float32"
    assert machine.note == (
        "precision float32: matrix products in bfloat16 are 4.0 times slower on this CPU"
    )


def test_cpu_without_kernels_falls_back_to_float32(monkeypatch) -> None:
    """ "auto" falls back; an explicit bfloat16 is a UsageError with a hint."""
    slowdown(monkeypatch, 0.5)
    update = TrainLoop.update

    def fail_in_bfloat16(loop):
        if loop.arithmetic.precision != "float32":
            raise RuntimeError("could not create a primitive")
        return update(loop)

    monkeypatch.setattr(TrainLoop, "update", fail_in_bfloat16)

    assert measured().arithmetic.precision == "float32"
    with pytest.raises(UsageError, match="bfloat16") as caught:
        measured("bfloat16")
    assert caught.value.hint == "use --precision float32"


@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, "bfloat16"), (0.95, "float32")])
def test_bfloat16_needs_the_minimum_speedup(monkeypatch, seconds, chosen) -> None:
    """A smaller speedup is not worth the loss of precision; the note has both times."""
    slowdown(monkeypatch, 0.5)
    update_seconds(monkeypatch, 1.0, seconds)
    machine = measured()

    assert machine.arithmetic.precision == chosen
    assert machine.note.startswith(f"precision {chosen}: an update takes ")


def test_fastest_update_counts(monkeypatch) -> None:
    """A slow outlier does not matter, and the candidates alternate."""
    slowdown(monkeypatch, 0.5)
    update_seconds(monkeypatch, 0.03, 0.005, 0.01, 0.03)

    assert measured().arithmetic.precision == "bfloat16"


def test_nothing_is_timed_for_a_deterministic_run(monkeypatch) -> None:
    """Its precision does not depend on a benchmark: float32 on a CPU."""
    monkeypatch.setattr(benchmark, "bfloat16_slowdown", lambda: pytest.fail("timed"))
    monkeypatch.setattr(benchmark, "_time_updates", lambda *_: pytest.fail("timed"))

    assert measured(deterministic=True).arithmetic.precision == "float32"


def test_a_high_learning_rate_does_not_diverge_in_the_benchmark() -> None:
    """The benchmark does not use it: the weights of a run start at random afterwards."""
    assert measured("float32", lr=1e6, matrix_lr=1e6, speed=True).tokens_per_minute


def test_benchmark_is_a_small_part_of_the_minutes() -> None:
    """A budget of three seconds is not used up by it."""
    assert benchmark._benchmark_seconds(config(minutes=0.05)) < 0.05
