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
    RecordSampler,
    SequentialSampler,
    fitting_batch_size,
)
from charnn.errors import DataError

SHAPES = st.tuples(st.integers(2, 400), st.integers(1, 9), st.integers(1, 40))
START = -1  # precedes id 0 in texts of increasing ids, which are one record
END = 0  # of the records of `names`
RECORDS = st.lists(st.integers(1, 30), min_size=1, max_size=60)  # lengths
BATCHES = st.tuples(st.integers(1, 4), st.integers(1, 12))  # rows and window


def build(name, tokens, batch_size, bptt, seed=1, **more):
    config = TrainConfig(sampler=name, batch_size=batch_size, bptt=bptt, seed=seed)
    return SAMPLERS[name].from_config(config, tokens, start_token=START, **more)


def names(lengths):
    """Return records of these lengths: different ids, and END at the end of each."""
    tokens = np.arange(1, sum(lengths) + 1)
    tokens[np.cumsum(lengths) - 1] = END
    return tokens


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
    sampler = build(name, np.arange(tokens), batch_size, bptt)

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
    sampler = build(name, np.arange(tokens), batch_size, bptt, targets=labels)

    for batch in epoch_of(sampler):
        counted = batch.targets >= 0
        assert (batch.targets[counted] == batch.inputs[counted] + 1001).all()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_shortest_corpus_is_not_overrun(name) -> None:
    """10⁴ batches from bptt + 1 tokens contain no id after the end."""
    bptt = 8
    tokens = np.arange(100)[: bptt + 1]
    sampler = build(name, tokens, 1, bptt)

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
    sampler = build(name, np.arange(tokens), batch_size, bptt)
    for _ in range(done):
        sampler.next_batch()
    resumed = build(name, np.arange(tokens), batch_size, bptt)
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
    options = {"sequential": {"random_bptt": True}, "records": {"start_token": 7}}.get(name, {})
    built = SAMPLERS[name].from_config(config, tokens, start_token=7)
    expected = SAMPLERS[name](tokens, 3, 8, 5, **options)

    for _ in range(60):
        assert (built.next_batch().inputs == expected.next_batch().inputs).all()


def test_small_text_reduces_the_batch_size() -> None:
    """Each row holds at least one window: 1,000 tokens give 15 rows of bptt 64."""
    config = TrainConfig(batch_size=64, bptt=64)

    assert fitting_batch_size(config, 1000) == 15
    assert fitting_batch_size(config, 10**6) == 64


def test_short_list_of_records_keeps_the_batch_size() -> None:
    """A batch of records can be smaller, and a list shorter than one window."""
    config = TrainConfig(sampler="records", batch_size=64, bptt=64)

    assert fitting_batch_size(config, 40) == 64


def test_text_shorter_than_a_window_is_a_data_error() -> None:
    """The message has the number of tokens and the minimum, the hint a bptt that fits."""
    with pytest.raises(DataError) as caught:
        fitting_batch_size(TrainConfig(batch_size=8, bptt=64), 40)

    assert "40 tokens" in caught.value.message
    assert "65" in caught.value.message
    assert "--bptt 39" in caught.value.hint


def test_number_of_random_batches_takes_no_pass_over_the_text() -> None:
    """A training asks for it at every step."""
    tokens = np.broadcast_to(np.uint8(0), (10**10,))
    sampler = RandomSampler(tokens, 64, 64)
    expected = -(-(10**10 - 1) // 64 // 64)

    assert all(abs(sampler.batches_in(epoch) - expected) <= 1 for epoch in range(100))


@given(RECORDS, BATCHES)
def test_record_epoch_covers_every_token_once(lengths, shape) -> None:
    """Including the first token of each record and its end; no batch is empty."""
    tokens = names(lengths)
    sampler = RecordSampler(tokens, *shape, start_token=END, seed=3)

    for _ in range(4):
        assert sorted(targets_of(sampler)) == sorted(tokens)
    assert all((batch.targets >= 0).any() for batch in epoch_of(sampler))


@given(RECORDS, BATCHES)
def test_rows_are_records_read_from_a_zero_state(lengths, shape) -> None:
    """Fresh rows begin after END; the other rows continue, and hold the rest of the record."""
    tokens = names(lengths)
    texts = [tuple(text) for text in np.split(tokens, np.cumsum(lengths)[:-1])]
    sampler = RecordSampler(tokens, *shape, start_token=END)
    read: list[list[int]] = []
    rows: list[list[int]] = []
    for batch in epoch_of(sampler):
        assert batch.fresh.all() or not batch.fresh.any()
        if batch.fresh.all():
            read, rows = read + rows, [[] for _ in batch.fresh]
        for row, (inputs, targets) in enumerate(zip(batch.inputs, batch.targets, strict=True)):
            count = int((targets >= 0).sum())
            assert (targets[count:] == -1).all()
            expected = [*(rows[row] or [END])[-1:], *targets.tolist()]
            assert inputs[:count].tolist() == expected[:count]
            rows[row] += targets[:count].tolist()
            assert len(batch.inputs[0]) <= shape[1]

    assert sorted(map(tuple, read + rows)) == sorted(texts)


@given(RECORDS, BATCHES, st.integers(0, 60))
def test_restored_position_continues_the_same_records(lengths, shape, done) -> None:
    """Also inside a record that is longer than a window."""
    sampler = RecordSampler(names(lengths), *shape, start_token=END)
    for _ in range(done):
        sampler.next_batch()
    resumed = RecordSampler(names(lengths), *shape, start_token=END)
    resumed.position = Position(sampler.position.epoch, sampler.position.batch)

    for _ in range(3):
        assert all(map(np.array_equal, sampler.next_batch(), resumed.next_batch()))


def test_order_of_records_differs_by_epoch_and_seed() -> None:
    """Neither the records of a batch nor the order of batches is that of the epoch before."""
    tokens = names([3 + i % 5 for i in range(200)])

    def epochs(seed):
        sampler = RecordSampler(tokens, 4, 16, seed, start_token=END)
        return [[batch.targets[:, 0].tolist() for batch in epoch_of(sampler)] for _ in range(3)]

    batches = [{str(sorted(batch)) for batch in epoch} for epoch in epochs(1)]

    assert epochs(1) == epochs(1)
    assert epochs(1) != epochs(2)
    assert not batches[0] & batches[1] & batches[2]


def test_batches_of_records_have_similar_sizes_and_little_padding() -> None:
    """About B · T tokens, less than 4 % padding, and the same few shapes in every epoch."""
    random = np.random.default_rng(1)
    tokens = names(np.maximum(2, random.normal(7, 2, 5000).astype(int)).tolist())
    sampler = RecordSampler(tokens, 32, 64, start_token=END)
    shapes = []
    for _ in range(3):
        batches = [batch.targets for batch in epoch_of(sampler)]
        sizes = [int((targets >= 0).sum()) for targets in batches]
        shapes.append(sorted(targets.shape for targets in batches))

        assert len(sizes) == sampler.batches_in(0)
        assert 1024 < min(sizes) <= max(sizes) < 3072
        assert sum(targets.size for targets in batches) < len(tokens) / 0.96
    assert shapes[0] == shapes[1] == shapes[2]
    assert len(set(shapes[0])) < 12


def test_lengths_of_windows_are_rounded() -> None:
    """Records of 1 to 300 tokens, in windows of up to 64, have 32 widths, and up to 6 % padding."""
    lengths = [*range(1, 301)] * 40
    sampler = RecordSampler(names(lengths), 32, 64, start_token=END)
    batches = [batch.targets for batch in epoch_of(sampler)]

    assert len({targets.shape[1] for targets in batches}) == 32
    assert sum(targets.size for targets in batches) < sum(lengths) / 0.94


def test_rows_that_have_ended_are_left_out() -> None:
    """A long record among short ones is read alone when the last half of the rows has ended."""
    sampler = RecordSampler(names([100, *[5] * 7]), 4, 10, start_token=END)
    shapes = [batch.inputs.shape for batch in epoch_of(sampler)]

    assert shapes.count((1, 10)) == 9
    assert sum(rows for rows, _ in shapes) == 8 + 9


def test_long_records_have_batch_size_rows() -> None:
    """A window of them has B rows of T tokens; what is left of a record is not padded to T."""
    sampler = RecordSampler(names([40] * 8), 4, 16, start_token=END)
    shapes = [batch.inputs.shape for batch in epoch_of(sampler)]

    assert shapes == [(4, 16), (4, 16), (4, 8)] * 2


def test_sampler_of_records_takes_twelve_bytes_per_record() -> None:
    """Its arrays hold the bounds, the records by length and those of the epoch, in four bytes."""
    tokens = names([5] * 100_000)
    sampler = RecordSampler(tokens, 32, 64, start_token=END)
    sampler.next_batch()
    arrays = [v for v in vars(sampler).values() if isinstance(v, np.ndarray) and v is not tokens]

    assert sum(array.nbytes for array in arrays) < 12.2 * 100_000
