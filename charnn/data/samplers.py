"""Cut a split into batches of (inputs, targets): streams, random windows, or records.

`SequentialSampler` reads parallel streams whose hidden state is carried from batch to batch;
`RandomSampler` reads windows in random order, each with an initial state of zero; `RecordSampler`
reads records in random order, each with an initial state of zero. The position of a sampler can be
saved and restored.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np

from charnn.arrays import Bools, Ids, Integers
from charnn.config import TrainConfig
from charnn.data.records import record_bounds
from charnn.errors import DataError

_PHASE, _ORDER, _LENGTHS = 0, 1, 2  # independent random streams of an epoch
# Random window lengths: the probability of a mean of T/2 instead of T, as in Merity et al. (2018),
# and the standard deviation in units of T. They use 5 of 70 tokens, 0.07. Lengths are rounded to
# T/8 here; with a deviation of 0.1, half of the windows differ from T.
HALVED, SPREAD = 0.05, 0.1
POOL = 32  # batches of a pool of records, which are sorted by length


class Batch(NamedTuple):
    """The data of one step: `inputs` and `targets` (B, T), and which rows are `fresh` (B,).

    `targets[b, t]` is the token that follows `inputs[b, t]` in the text. Negative targets are
    excluded from the loss; samplers pad with -1. A fresh row does not continue the same row of the
    previous batch, so its initial state is zero.
    """

    inputs: Integers
    targets: Integers
    fresh: Bools


@dataclass(frozen=True)
class Position:
    """The next batch of a sampler: its epoch and its index in the epoch, both from 0."""

    epoch: int = 0
    batch: int = 0


class Sampler(Protocol):
    """An infinite sequence of batches, one epoch after another."""

    position: Position

    @classmethod
    def from_config(
        cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None, start_token: int = 0
    ) -> Self:
        """Create the sampler from the settings of a run; `start_token` ends each record."""
        ...

    def batches_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        ...

    def next_batch(self) -> Batch:
        """Return the batch at `position`, and advance `position` by one batch."""
        ...


class SequentialSampler:
    """A sampler that cuts a split into B streams and reads them in parallel, T tokens at a time.

    In the first epoch row b reads stream b. In each later epoch every row reads the next stream:
    the row that has read stream b continues with stream b + 1, which follows it in the text, so
    its hidden state remains valid. Only the row that returns to the first stream is fresh.
    Each later epoch begins with a window of random length, 1 … T, so that its batches differ from
    those of the epoch before (compare Press, "Partially shuffling the training data to improve
    language models", 2019; benchmarks/README.md measures the gain). The last window of an epoch is
    shorter if T does not divide the rest. Up to B tokens at the end of the split are not used.
    `random_bptt` randomizes the window lengths around T. `targets`, (N,), replaces the tokens as
    targets: `targets[i]` is predicted from the tokens before i.
    """

    def __init__(
        self,
        tokens: Ids,
        batch_size: int,
        bptt: int,
        seed: int = 1,
        *,
        random_bptt: bool = False,
        targets: Ids | None = None,
    ) -> None:
        targets = tokens if targets is None else targets
        _require_tokens(len(tokens), batch_size + 1)
        self._length = (len(tokens) - 1) // batch_size
        self._inputs = tokens[: batch_size * self._length].reshape(batch_size, -1)
        self._targets = targets[1 : batch_size * self._length + 1].reshape(batch_size, -1)
        self._bptt = bptt
        self._seed = seed
        self._random_bptt = random_bptt
        self._cut_epoch = -1
        self._cuts: Integers = np.empty(0, np.int64)
        self.position = Position()

    @classmethod
    def from_config(
        cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None, start_token: int = 0
    ) -> Self:
        """Create the sampler from the settings of a run."""
        return cls(
            tokens,
            config.batch_size,
            config.bptt,
            config.seed,
            random_bptt=config.random_bptt,
            targets=targets,
        )

    def batches_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch, including a shorter last one."""
        return len(self._cuts_of(epoch)) - 1

    def next_batch(self) -> Batch:
        """Return the next window of every stream."""
        epoch, batch = self.position.epoch, self.position.batch
        streams = (np.arange(len(self._inputs)) + epoch) % len(self._inputs)
        window = slice(*self._cuts_of(epoch)[batch : batch + 2])
        begins = (streams == 0) | (epoch == 0)
        self.position = _next_position(self.position, self.batches_in(epoch))
        return Batch(
            self._inputs[streams, window].astype(np.int64),
            self._targets[streams, window].astype(np.int64),
            begins & (batch == 0),
        )

    def _cuts_of(self, epoch: int) -> Integers:
        """Return the boundaries of the windows of an epoch, from 0 to the length of a stream."""
        if epoch != self._cut_epoch:
            self._cut_epoch = epoch
            lengths = self._random_lengths if self._random_bptt else self._fixed_lengths
            ends = np.cumsum(lengths(epoch))
            inner = ends[ends < self._length]
            self._cuts = np.concatenate([[0], inner, [self._length]])
        return self._cuts

    def _fixed_lengths(self, epoch: int) -> Integers:
        """Return the lengths of the windows: T, and 1 … T for the first one of a later epoch."""
        lengths = np.full(self._full_windows() + 1, self._bptt)
        if epoch:
            random = np.random.default_rng((self._seed, epoch, _PHASE))
            lengths[0] = 1 + random.integers(self._bptt)
        return lengths.astype(np.int64)

    def _full_windows(self) -> int:
        """Return the number of windows of T tokens that cover a stream."""
        return -(-self._length // self._bptt)

    def _random_lengths(self, epoch: int) -> Integers:
        """Return random window lengths: 5 % of them around T/2, the others around T.

        Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018.
        Lengths are rounded to multiples of T/8, because the first use of a shape is slow.
        """
        random = np.random.default_rng((self._seed, epoch, _LENGTHS))
        count = 2 * self._full_windows() + 2
        middle = np.where(random.random(count) < HALVED, 0.5, 1.0)
        eighths = np.rint(8 * (middle + random.normal(0, SPREAD, count)))
        return np.maximum(1, np.rint(np.maximum(eighths, 1) * self._bptt / 8)).astype(np.int64)


class RandomSampler:
    """A sampler that reads windows of T tokens in random order, at most B per batch.

    The grid of windows has a new random offset in each epoch, so that no token is always the first
    of its window. Windows cut off by the ends of the split are padded with targets of -1, so each
    token except the first is a target exactly once per epoch. The windows are divided among the
    batches as evenly as possible, so no batch is a small remainder. `targets` as in
    `SequentialSampler`.
    """

    def __init__(
        self,
        tokens: Ids,
        batch_size: int,
        bptt: int,
        seed: int = 1,
        *,
        targets: Ids | None = None,
    ) -> None:
        _require_tokens(len(tokens), 2)
        self._tokens = tokens
        self._targets = tokens if targets is None else targets
        self._batch_size = batch_size
        self._bptt = bptt
        self._seed = seed
        self._batches_epoch = -1
        self._batches: list[Integers] = []  # starts of the windows of each batch of that epoch
        self.position = Position()

    @classmethod
    def from_config(
        cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None, start_token: int = 0
    ) -> Self:
        """Create the sampler from the settings of a run."""
        return cls(tokens, config.batch_size, config.bptt, config.seed, targets=targets)

    def batches_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch; it can differ by one between epochs."""
        return -(-len(self._grid(epoch)) // self._batch_size)

    def next_batch(self) -> Batch:
        """Return the next windows in the random order of this epoch."""
        epoch, batch = self.position.epoch, self.position.batch
        if epoch != self._batches_epoch:
            order = self._random(epoch, _ORDER).permutation(self._grid(epoch))
            self._batches = np.array_split(order, self.batches_in(epoch))
            self._batches_epoch = epoch
        self.position = _next_position(self.position, len(self._batches))
        return self._read(self._batches[batch])

    def _grid(self, epoch: int) -> Integers:
        """Return the starts of all windows of an epoch; the first may be negative."""
        phase = int(self._random(epoch, _PHASE).integers(self._bptt))
        return np.arange(-phase, len(self._tokens) - 1, self._bptt, dtype=np.int64)

    def _random(self, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, epoch, purpose))

    def _read(self, starts: Integers) -> Batch:
        last = len(self._tokens) - 1
        begins = np.maximum(starts, 0)[:, None]
        ends = np.minimum(starts + self._bptt, last)[:, None]
        positions = begins + np.arange(self._bptt)
        inside = positions < ends
        positions = np.where(inside, positions, 0)
        inputs = self._tokens[positions].astype(np.int64)
        targets = np.where(inside, self._targets[positions + 1].astype(np.int64), -1)
        return Batch(inputs, targets, np.ones(len(starts), np.bool_))


class RecordSampler:
    """A sampler that reads whole records in random order, one per row, about B × T tokens a batch.

    Each epoch shuffles the records and divides them into pools; the records of a pool are sorted by
    length and divided into batches of equal size, so that the rows of a batch have similar lengths.
    The batches of an epoch are then shuffled. Shorter rows are padded with targets of -1, so each
    token is a target exactly once per epoch.

    Records longer than T tokens are read in windows of T. The rows of such a batch continue in the
    next batch, with their hidden state; rows that have ended are left out. They are the last rows.

    A record ends with `start_token`, which also precedes its first token.
    """

    def __init__(
        self,
        tokens: Ids,
        batch_size: int,
        bptt: int,
        seed: int = 1,
        *,
        start_token: int,
        targets: Ids | None = None,
    ) -> None:
        _require_tokens(len(tokens), 1)
        self._tokens = tokens
        self._targets = tokens if targets is None else targets
        self._start_token = start_token
        self._bptt = bptt
        self._seed = seed
        self._bounds = record_bounds(tokens, start_token)
        lengths = np.diff(self._bounds)
        self._has_long = bool(lengths.max() > bptt)
        total = int(np.minimum(lengths, bptt).sum(dtype=np.int64))
        self._groups = -(-total // (batch_size * bptt))
        self._epoch = -1
        self._order: Ids = np.empty(0, np.uint32)  # records in the order of that epoch
        self._cuts: Integers = np.empty(0, np.int64)  # of the order, into groups of rows
        self._shuffled: Integers = np.empty(0, np.int64)  # groups in the order of the epoch
        self._first_batches: Integers = np.empty(0, np.int64)  # of each of these groups
        self.position = Position()

    @classmethod
    def from_config(
        cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None, start_token: int = 0
    ) -> Self:
        """Create the sampler from the settings of a run."""
        return cls(
            tokens,
            config.batch_size,
            config.bptt,
            config.seed,
            start_token=start_token,
            targets=targets,
        )

    def batches_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch; with records longer than T it can vary."""
        if not self._has_long:
            return self._groups
        self._arrange(epoch)
        return int(self._first_batches[-1])

    def next_batch(self) -> Batch:
        """Return the next records of this epoch, or the next window of long records."""
        epoch, batch = self.position.epoch, self.position.batch
        self._arrange(epoch)
        index = int(np.searchsorted(self._first_batches, batch, "right")) - 1
        group = int(self._shuffled[index])
        records = self._order[self._cuts[group] : self._cuts[group + 1]]
        self.position = _next_position(self.position, int(self._first_batches[-1]))
        return self._read(records, self._bptt * int(batch - self._first_batches[index]))

    def _arrange(self, epoch: int) -> None:
        """Divide the records into groups of rows and shuffle the groups, for this epoch."""
        if epoch == self._epoch:
            return
        random = np.random.default_rng((self._seed, epoch, _ORDER))
        order = np.arange(len(self._bounds) - 1, dtype=np.uint32)
        random.shuffle(order)
        pools = -(-self._groups // POOL)
        group_cuts = np.linspace(0, self._groups, pools + 1).astype(np.int64)
        record_cuts = group_cuts * len(order) // self._groups
        cuts = [np.zeros(1, np.int64)]
        for pool in range(pools):
            inside = order[record_cuts[pool] : record_cuts[pool + 1]]
            groups = int(group_cuts[pool + 1] - group_cuts[pool])
            cuts.append(record_cuts[pool] + self._sort_and_cut(inside, groups))
        self._order, self._cuts = order, np.concatenate(cuts)
        longest = self._lengths(order[self._cuts[:-1]])  # the first row of a group
        self._shuffled = random.permutation(self._groups)
        windows = -(-longest[self._shuffled] // self._bptt)
        self._first_batches = np.concatenate([[0], np.cumsum(windows)])
        self._epoch = epoch

    def _sort_and_cut(self, records: Ids, groups: int) -> Integers:
        """Sort the records of a pool by length, longest first, in place. Return the ends of groups.

        The groups have equal sizes in tokens, where a record counts for at most T.
        """
        lengths = self._lengths(records)
        by_length = np.argsort(-lengths, kind="stable")
        records[:] = records[by_length]
        sizes = np.cumsum(np.minimum(lengths[by_length], self._bptt))
        numbers = np.arange(1, groups + 1)
        ends: Integers = np.searchsorted(sizes, sizes[-1] * numbers / groups)
        # Records beyond the first of each group; ends[k] + 1 can be less than k + 1.
        extra = np.maximum.accumulate(np.maximum(ends + 1 - numbers, 0))
        return np.minimum(extra, len(records) - groups) + numbers

    def _lengths(self, records: Ids) -> Integers:
        """Return the numbers of tokens of records."""
        lengths = self._bounds[records + 1] - self._bounds[records]
        return lengths.astype(np.int64)

    def _read(self, records: Ids, offset: int) -> Batch:
        """Return the window of the records that begins at `offset`, without those that ended."""
        lengths = self._lengths(records) - offset
        lengths = lengths[lengths > 0]
        columns = np.arange(min(self._bptt, int(lengths[0])))
        starts = self._bounds[records[: len(lengths)]].astype(np.int64) + offset
        places = np.minimum(starts[:, None] + columns, len(self._tokens) - 1)
        inputs = np.where(places > 0, self._tokens[places - 1], self._start_token)
        targets = np.where(columns < lengths[:, None], self._targets[places].astype(np.int64), -1)
        return Batch(inputs.astype(np.int64), targets, np.full(len(lengths), offset == 0))


SAMPLERS: dict[str, type[Sampler]] = {
    "sequential": SequentialSampler,
    "random": RandomSampler,
    "records": RecordSampler,
}


def fitting_batch_size(tokens: int, batch_size: int, bptt: int) -> int:
    """Return the largest batch size up to `batch_size` whose rows hold at least one window.

    Raise DataError if the split is shorter than one window.
    """
    rows = (tokens - 1) // bptt
    if rows < 1:
        raise DataError(
            f"the training split has {tokens:,} tokens; one window of bptt {bptt} needs {bptt + 1}",
            f"use --bptt {max(1, tokens - 1)} or less, or a longer text",
        )
    return min(batch_size, rows)


def _next_position(position: Position, batches: int) -> Position:
    if position.batch + 1 == batches:
        return Position(position.epoch + 1, 0)
    return Position(position.epoch, position.batch + 1)


def _require_tokens(have: int, need: int) -> None:
    if have < need:
        raise DataError(f"the split has {have:,} tokens; a batch needs at least {need:,}")
