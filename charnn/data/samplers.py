"""Cut a split into batches of (inputs, targets): streams, random windows, or records.

`SequentialSampler` reads parallel streams whose hidden state is carried from batch to batch;
`RandomSampler` reads windows in random order, each with an initial state of zero; `RecordSampler`
reads records in random order, each with an initial state of zero. The position of a sampler can be
saved and restored.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, Self

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
    carries_state: ClassVar[bool]  # whether a batch can continue the rows of the one before

    @classmethod
    def from_config(
        cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None, *, start_token: int
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

    carries_state: ClassVar[bool] = True

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
        cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None, *, start_token: int
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

    carries_state: ClassVar[bool] = False

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
        cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None, *, start_token: int
    ) -> Self:
        """Create the sampler from the settings of a run."""
        return cls(tokens, config.batch_size, config.bptt, config.seed, targets=targets)

    def batches_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch; it can differ by one between epochs."""
        windows = -(-(len(self._tokens) - 1 + self._phase(epoch)) // self._bptt)
        return -(-windows // self._batch_size)

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
        return np.arange(-self._phase(epoch), len(self._tokens) - 1, self._bptt, dtype=np.int64)

    def _phase(self, epoch: int) -> int:
        """Return the offset of the windows of an epoch."""
        return int(self._random(epoch, _PHASE).integers(self._bptt))

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

    Records are sorted by length and divided into groups of rows of similar length, which are read
    in random order. The lengths are rounded, and records of one rounded length are shuffled in each
    epoch, so that groups hold other records, but have the same shapes: oneDNN keeps code for every
    shape. Rows are padded with targets of -1, so each token is a target exactly once per epoch.

    Records longer than T tokens are read in windows of T: a group is then a sequence of batches,
    whose rows continue with their hidden state. When the last half of the rows has ended, it is
    left out.

    A record ends with `start_token`, which also precedes its first token.
    """

    carries_state: ClassVar[bool] = True

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
        widths = _rounded(np.diff(self._bounds), bptt)
        order = np.argsort(widths, kind="stable")[::-1]
        widths = widths[order]
        self._by_width = order.astype(np.uint32)  # records, the longest first
        changes = 1 + np.flatnonzero(np.diff(widths))
        self._width_cuts: Integers = np.concatenate([[0], changes, [len(order)]])
        self._cuts = _cut_into_groups(widths, batch_size, bptt)
        self._widths = widths[self._cuts[:-1]]  # of the groups
        self._epoch = -1
        self._order: Ids = np.empty(0, np.uint32)  # records in the order of that epoch
        self._groups: Integers = np.empty(0, np.int64)  # groups in the order of that epoch
        self._first_batches: Integers = np.empty(0, np.int64)  # of each of these groups
        self.position = Position()

    @classmethod
    def from_config(
        cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None, *, start_token: int
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

    def batches_in(self, epoch: int) -> int:  # noqa: ARG002 - the same in every epoch
        """Return the number of batches in an epoch."""
        return int(self._windows.sum())

    @property
    def _windows(self) -> Integers:
        """Return the number of batches of each group."""
        windows: Integers = -(-self._widths // self._bptt)
        return windows

    def next_batch(self) -> Batch:
        """Return the next records of this epoch, or the next window of long records."""
        epoch, batch = self.position.epoch, self.position.batch
        if epoch != self._epoch:
            self._arrange(epoch)
        index = int(np.searchsorted(self._first_batches, batch, "right")) - 1
        window = batch - int(self._first_batches[index])
        self.position = _next_position(self.position, int(self._first_batches[-1]))
        return self._read(int(self._groups[index]), self._bptt * window)

    def _arrange(self, epoch: int) -> None:
        """Shuffle the records of each rounded length, and the groups, for an epoch."""
        random = np.random.default_rng((self._seed, epoch, _ORDER))
        self._order = self._by_width.copy()
        for start, end in itertools.pairwise(self._width_cuts.tolist()):
            random.shuffle(self._order[start:end])
        self._groups = random.permutation(len(self._widths))
        self._first_batches = np.concatenate([[0], np.cumsum(self._windows[self._groups])])
        self._epoch = epoch

    def _read(self, group: int, offset: int) -> Batch:
        """Return the window of the records of a group that begins at `offset`."""
        records = self._order[self._cuts[group] : self._cuts[group + 1]]
        starts = self._bounds[records].astype(np.int64) + offset
        left = self._bounds[records + 1] - starts
        rows = len(records)
        while (left[rows // 2 : rows] <= 0).all():
            rows //= 2
        columns = np.arange(min(self._bptt, int(self._widths[group]) - offset))
        places = np.minimum(starts[:rows, None] + columns, len(self._tokens) - 1)
        inputs = np.where(places > 0, self._tokens[places - 1], self._start_token)
        inside = columns < left[:rows, None]
        targets = np.where(inside, self._targets[places].astype(np.int64), -1)
        return Batch(inputs.astype(np.int64), targets, np.full(rows, offset == 0))


def _rounded(lengths: Ids, bptt: int) -> Integers:
    """Round lengths up, so that windows have few different widths: by an eighth at most."""
    whole, rest = np.divmod(lengths.astype(np.int64) - 1, bptt)
    rest += 1
    steps = 2 ** np.maximum(np.log2(rest).astype(np.int64) - 3, 0)
    rounded: Integers = whole * bptt + np.minimum(-(-rest // steps) * steps, bptt)
    return rounded


def _cut_into_groups(widths: Integers, batch_size: int, bptt: int) -> Integers:
    """Return the bounds of groups of about B × T tokens a window, given widths in falling order."""
    cuts = [0]
    while cuts[-1] < len(widths):
        size = min(int(widths[cuts[-1]]), bptt)
        cuts.append(min(len(widths), cuts[-1] + batch_size * bptt // size))
    left = int(np.minimum(widths[cuts[-2] :], bptt).sum())
    if len(cuts) > 2 and 2 * left < batch_size * bptt:  # noqa: PLR2004 - two groups or more
        del cuts[-2]  # a small batch would have as much weight as the others
    return np.array(cuts)


SAMPLERS: dict[str, type[Sampler]] = {
    "sequential": SequentialSampler,
    "random": RandomSampler,
    "records": RecordSampler,
}


def fitting_batch_size(config: TrainConfig, tokens: int) -> int:
    """Return the largest batch size up to that of `config` whose rows hold at least one window.

    Batches of records can be smaller. Raise DataError if the split is shorter than one window.
    """
    batch_size, bptt = config.batch_size, config.bptt
    if config.sampler == "records":
        return batch_size
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
