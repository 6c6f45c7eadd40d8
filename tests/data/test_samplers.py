"""Samplers: coverage of an epoch, shifted targets, continuity, reproducibility."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import TrainConfig
from charnn.data.samplers import (
    SAMPLERS,
    Position,
    RandomSampler,
    SequentialSampler,
    fitting_batch_size,
)
from charnn.errors import DataError

SHAPES = st.tuples(st.integers(2, 400), st.integers(1, 9), st.integers(1, 40))


def epoch_of(sampler):
    epoch = sampler.position.epoch
    while sampler.position.epoch == epoch:
        yield sampler.next_batch()


def targets_of(sampler) -> list[int]:
    return [int(t) for batch in epoch_of(sampler) for t in batch.targets.ravel() if t >= 0]


@given(SHAPES)
def test_sequential_epoch_covers_full_rows_once(shape) -> None:
    """The targets are 1, 2, 3 … N-1, except for less than one token per row at the end."""
    tokens, batch_size, bptt = shape
    if tokens < batch_size + 1:
        return
    sampler = SequentialSampler(np.arange(tokens), batch_size, bptt)
    length = (tokens - 1) // batch_size

    for _ in range(3):
        assert sorted(targets_of(sampler)) == list(range(1, batch_size * length + 1))


@given(SHAPES)
def test_random_epoch_covers_every_token_once(shape) -> None:
    """The targets are 1, 2, 3 … N-1 for every random offset."""
    tokens, batch_size, bptt = shape
    sampler = RandomSampler(np.arange(tokens), batch_size, bptt, seed=3)

    for _ in range(4):
        assert sorted(targets_of(sampler)) == list(range(1, tokens))


@given(SHAPES, st.sampled_from(sorted(SAMPLERS)))
def test_targets_are_the_inputs_shifted_by_one(shape, name) -> None:
    """Each scored target follows its input, and batches have at most B rows and T columns."""
    tokens, batch_size, bptt = shape
    if tokens < batch_size + 1:
        return
    sampler = SAMPLERS[name](np.arange(tokens), batch_size, bptt, 1)

    for batch in epoch_of(sampler):
        counted = batch.targets >= 0
        assert counted.any()
        assert (batch.targets[counted] == batch.inputs[counted] + 1).all()
        assert batch.inputs.shape == batch.targets.shape
        assert 1 <= len(batch.inputs) <= batch_size
        assert batch.inputs.shape[1] <= bptt


@given(SHAPES, st.sampled_from(sorted(SAMPLERS)))
def test_separate_targets_stay_aligned(shape, name) -> None:
    """The target of token i is `targets[i + 1]` in every window."""
    tokens, batch_size, bptt = shape
    if tokens < batch_size + 1:
        return
    labels = 1000 + np.arange(tokens)
    sampler = SAMPLERS[name](np.arange(tokens), batch_size, bptt, 1, targets=labels)

    for batch in epoch_of(sampler):
        counted = batch.targets >= 0
        assert (batch.targets[counted] == batch.inputs[counted] + 1001).all()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_shortest_corpus_is_not_overrun(name) -> None:
    """10⁴ batches from bptt + 1 tokens contain no id after the end."""
    bptt = 8
    tokens = np.arange(100)[: bptt + 1]
    sampler = SAMPLERS[name](tokens, 1, bptt, 1)

    highest = max(int(sampler.next_batch().targets.max()) for _ in range(10_000))

    assert highest == bptt


@given(SHAPES)
def test_sequential_rows_continue_across_epochs(shape) -> None:
    """A row that is not fresh begins with the last target of that row."""
    tokens, batch_size, bptt = shape
    if tokens < batch_size + 1:
        return
    sampler = SequentialSampler(np.arange(tokens), batch_size, bptt)
    before = sampler.next_batch()
    assert before.fresh.all()

    while sampler.position.epoch < 3:
        batch = sampler.next_batch()
        carried = ~batch.fresh
        assert (batch.inputs[carried, 0] == before.targets[carried, -1]).all()
        assert (batch.inputs[batch.fresh, 0] == 0).all()
        before = batch


@given(SHAPES)
def test_random_bptt_covers_every_token(shape) -> None:
    """Random window lengths change neither coverage nor continuity."""
    tokens, batch_size, bptt = shape
    if tokens < batch_size + 1:
        return
    sampler = SequentialSampler(np.arange(tokens), batch_size, bptt, random_bptt=True)
    length = (tokens - 1) // batch_size
    before = sampler.next_batch()
    seen = before.targets.ravel().tolist()
    while sampler.position.epoch == 0:
        batch = sampler.next_batch()
        assert (batch.inputs[:, 0] == before.targets[:, -1]).all()
        seen += batch.targets.ravel().tolist()
        before = batch

    assert sorted(seen) == list(range(1, batch_size * length + 1))
    sampler = SequentialSampler(np.arange(100_000), 4, 64, random_bptt=True)
    lengths = [batch.inputs.shape[1] for batch in epoch_of(sampler)]
    assert min(lengths[:-1]) < 40
    assert 55 < np.mean(lengths) < 70
    assert len(set(lengths)) < 15


def test_sequential_has_one_fresh_row_per_later_epoch() -> None:
    """Only the row that returns to the first stream is fresh."""
    sampler = SequentialSampler(np.arange(101), 5, 7)
    list(epoch_of(sampler))

    assert sampler.next_batch().fresh.sum() == 1


def test_sequential_window_offset_is_random_per_epoch_and_seed() -> None:
    """The first epoch has full windows; later ones begin with a window of random length."""

    def first_lengths(seed):
        sampler = SequentialSampler(np.arange(2000), 4, 32, seed)
        return [[batch.inputs.shape[1] for batch in epoch_of(sampler)][:2] for _ in range(9)]

    lengths = first_lengths(1)

    assert lengths[0] == [32, 32]
    assert all(1 <= first <= 32 and second == 32 for first, second in lengths)
    assert len({first for first, _ in lengths}) > 4
    assert first_lengths(1) == lengths != first_lengths(2)


def test_random_order_differs_by_epoch_and_seed() -> None:
    """The same seed gives the same batches."""

    def first_epochs(seed):
        sampler = RandomSampler(np.arange(1000), 4, 16, seed)
        return [[batch.inputs[:, 0].tolist() for batch in epoch_of(sampler)] for _ in range(3)]

    assert first_epochs(1) == first_epochs(1)
    assert first_epochs(1) != first_epochs(2)
    assert len({str(epoch) for epoch in first_epochs(1)}) == 3


@given(SHAPES, st.sampled_from(sorted(SAMPLERS)), st.integers(0, 60))
def test_restored_position_continues_the_same_batches(shape, name, done) -> None:
    """A new sampler at a saved position yields the same batches."""
    tokens, batch_size, bptt = shape
    if tokens < batch_size + 1:
        return
    sampler = SAMPLERS[name](np.arange(tokens), batch_size, bptt, 1)
    for _ in range(done):
        sampler.next_batch()
    resumed = SAMPLERS[name](np.arange(tokens), batch_size, bptt, 1)
    resumed.position = Position(sampler.position.epoch, sampler.position.batch)

    for _ in range(3):
        expected, actual = sampler.next_batch(), resumed.next_batch()
        assert (expected.inputs == actual.inputs).all()
        assert (expected.targets == actual.targets).all()
        assert (expected.fresh == actual.fresh).all()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_sampler_from_config(name) -> None:
    """Batch size, bptt, seed and, for the sequential sampler, random_bptt."""
    tokens = np.arange(1000)
    config = TrainConfig(sampler=name, batch_size=3, bptt=8, seed=5, random_bptt=True)
    options = {"random_bptt": True} if name == "sequential" else {}
    built = SAMPLERS[name].from_config(config, tokens)
    expected = SAMPLERS[name](tokens, 3, 8, 5, **options)

    for _ in range(60):
        assert (built.next_batch().inputs == expected.next_batch().inputs).all()


def test_small_text_reduces_the_batch_size() -> None:
    """Each row holds at least one window: 1,000 tokens give 15 rows of bptt 64."""
    assert fitting_batch_size(1000, 64, 64) == 15
    assert fitting_batch_size(10**6, 64, 64) == 64


def test_text_shorter_than_a_window_is_a_data_error() -> None:
    """The message has the number of tokens and the minimum, the hint a bptt that fits."""
    with pytest.raises(DataError) as caught:
        fitting_batch_size(40, 8, 64)

    assert "40 tokens" in caught.value.message
    assert "65" in caught.value.message
    assert "--bptt 39" in caught.value.hint
