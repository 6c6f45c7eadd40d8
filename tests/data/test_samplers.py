"""Samplers: every token once an epoch, targets shifted by one, nothing read past the end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
def test_sequential_sees_every_token_once_but_what_cannot_fill_a_row(shape) -> None:
    """An epoch's targets are 1, 2, 3 … N-1, less than one token a row being left out."""
    tokens, batch_size, bptt = shape
    if tokens < batch_size + 1:
        return
    sampler = SequentialSampler(np.arange(tokens), batch_size, bptt)
    length = (tokens - 1) // batch_size

    for _ in range(3):
        assert sorted(targets_of(sampler)) == list(range(1, batch_size * length + 1))


@given(SHAPES)
def test_random_sees_every_token_exactly_once_an_epoch(shape) -> None:
    """An epoch's targets are all of 1 … N-1, whatever the phase."""
    tokens, batch_size, bptt = shape
    sampler = RandomSampler(np.arange(tokens), batch_size, bptt, seed=3)

    for _ in range(4):
        assert sorted(targets_of(sampler)) == list(range(1, tokens))


@given(SHAPES, st.sampled_from(sorted(SAMPLERS)))
def test_targets_are_the_inputs_shifted_by_one(shape, name) -> None:
    """Where a target counts it follows its input, and batches have the promised size."""
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
def test_a_second_stream_of_targets_stays_beside_the_tokens(shape, name) -> None:
    """What is predicted after token i is the target at i + 1, in every window of either order."""
    tokens, batch_size, bptt = shape
    if tokens < batch_size + 1:
        return
    beside = 1000 + np.arange(tokens)
    sampler = SAMPLERS[name](np.arange(tokens), batch_size, bptt, 1, targets=beside)

    for batch in epoch_of(sampler):
        counted = batch.targets >= 0
        assert (batch.targets[counted] == batch.inputs[counted] + 1001).all()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_corpus_one_token_longer_than_a_window_is_never_overrun(name) -> None:
    """10⁵ batches from bptt + 1 tokens: never an id from beyond the end."""
    bptt = 8
    tokens = np.arange(100)[: bptt + 1]
    sampler = SAMPLERS[name](tokens, 1, bptt, 1)

    highest = max(int(sampler.next_batch().targets.max()) for _ in range(100_000))

    assert highest == bptt


@given(SHAPES)
def test_sequential_rows_go_on_where_they_ended_even_across_epochs(shape) -> None:
    """A row that is not fresh begins with the token that was its last target."""
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
def test_varied_windows_see_every_token_too_and_lengths_differ(shape) -> None:
    """Random lengths change neither coverage nor the continuity of rows."""
    tokens, batch_size, bptt = shape
    if tokens < batch_size + 1:
        return
    sampler = SequentialSampler(np.arange(tokens), batch_size, bptt, vary=True)
    length = (tokens - 1) // batch_size
    before = sampler.next_batch()
    seen = before.targets.ravel().tolist()
    while sampler.position.epoch == 0:
        batch = sampler.next_batch()
        assert (batch.inputs[:, 0] == before.targets[:, -1]).all()
        seen += batch.targets.ravel().tolist()
        before = batch

    assert sorted(seen) == list(range(1, batch_size * length + 1))
    sampler = SequentialSampler(np.arange(100_000), 4, 64, vary=True)
    lengths = [batch.inputs.shape[1] for batch in epoch_of(sampler)]
    assert min(lengths[:-1]) < 40
    assert 55 < np.mean(lengths) < 70
    assert len(set(lengths)) < 15


def test_sequential_starts_only_one_row_afresh_in_a_later_epoch() -> None:
    """Rolling the rows breaks a single stream an epoch."""
    sampler = SequentialSampler(np.arange(101), 5, 7)
    list(epoch_of(sampler))

    assert sampler.next_batch().fresh.sum() == 1


def test_sequential_cuts_lie_elsewhere_in_each_epoch_and_depend_on_the_seed() -> None:
    """The first epoch has whole windows; later ones begin with a shorter one, drawn anew."""

    def first_lengths(seed):
        sampler = SequentialSampler(np.arange(2000), 4, 32, seed)
        return [[batch.inputs.shape[1] for batch in epoch_of(sampler)][:2] for _ in range(9)]

    lengths = first_lengths(1)

    assert lengths[0] == [32, 32]
    assert all(1 <= first <= 32 and second == 32 for first, second in lengths)
    assert len({first for first, _ in lengths}) > 4
    assert first_lengths(1) == lengths != first_lengths(2)


def test_random_phases_and_orders_differ_between_epochs_and_depend_on_the_seed() -> None:
    """No grid is favoured, and the same seed gives the same data."""

    def first_epochs(seed):
        sampler = RandomSampler(np.arange(1000), 4, 16, seed)
        return [[batch.inputs[:, 0].tolist() for batch in epoch_of(sampler)] for _ in range(3)]

    assert first_epochs(1) == first_epochs(1)
    assert first_epochs(1) != first_epochs(2)
    assert len({str(epoch) for epoch in first_epochs(1)}) == 3


@given(SHAPES, st.sampled_from(sorted(SAMPLERS)), st.integers(0, 60))
def test_a_restored_position_continues_the_same_data(shape, name, done) -> None:
    """Position saved, new sampler, position restored: the next batches are the same."""
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


def test_a_small_text_gets_a_smaller_batch() -> None:
    """Rows hold at least one window; 1,000 tokens of bptt 64 fill fifteen."""
    assert fitting_batch_size(1000, 64, 64) == 15
    assert fitting_batch_size(10**6, 64, 64) == 64


def test_a_text_without_one_window_is_refused_with_the_arithmetic() -> None:
    """The message says what is there, what is needed, and what would fit."""
    with pytest.raises(DataError) as caught:
        fitting_batch_size(40, 8, 64)

    assert "40 tokens" in caught.value.message
    assert "65" in caught.value.message
    assert "--bptt 39" in caught.value.hint
