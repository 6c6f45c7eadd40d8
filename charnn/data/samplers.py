"""Cut a split into windows and batches of (inputs, targets), in sequence or at random.

`SequentialSampler` reads parallel streams whose hidden state is carried from batch to batch;
`RandomSampler` reads windows in random order, each from a state of zero. A position can be saved
and restored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from charnn.arrays import Bools, Ids, Integers
from charnn.errors import DataError

_PHASE, _ORDER, _LENGTHS = 0, 1, 2  # independent random streams of an epoch
HALVED, SPREAD = 0.05, 0.1  # of varied windows: share that is halved, deviation in units of T


class Batch(NamedTuple):
    """The data of one step: `inputs` and `targets` (B, T), and which rows are `fresh` (B,).

    `targets[b, t]` is the token to predict after `inputs[b, t]`: the one that follows it in the
    text. A negative target is not scored; samplers pad with -1. A fresh row does not continue the
    row of the previous batch, so its hidden state starts at zero.
    """

    inputs: Integers
    targets: Integers
    fresh: Bools


@dataclass(frozen=True)
class Position:
    """Where a sampler stands: the epoch, counted from 0, and the batch within it."""

    epoch: int = 0
    batch: int = 0


class Sampler(Protocol):
    """An endless row of batches, epoch after epoch."""

    position: Position

    def batches_in(self, epoch: int) -> int:
        """Number of batches of that epoch."""
        ...

    def next_batch(self) -> Batch:
        """The batch at `position`, which moves on by one."""
        ...


class SequentialSampler:
    """The split cut into B streams of equal length, read side by side, T tokens at a time.

    Row b of the first epoch reads stream b. In each later epoch the rows move on by one stream:
    the row that ended stream b goes on with stream b + 1, which is where the text goes on, so the
    carried state stays true; only the row that returns to the beginning of the text starts afresh.
    A later epoch begins with a window of random length, 1 … T, so no cut is favoured and no batch
    holds the same windows twice (compare Press, "Partially shuffling the training data to improve
    language models", 2019; benchmarks/README.md says what it gains here). An epoch ends
    with one shorter window where T does not divide the rest; fewer than B tokens at the very end
    of the text cannot fill a row and are left out.
    With `vary` the windows have random lengths around T. With `targets`, (N,) beside the tokens,
    that is what is predicted at each place, from the tokens before it, instead of the token there.
    """

    def __init__(
        self,
        tokens: Ids,
        batch_size: int,
        bptt: int,
        seed: int = 1,
        *,
        vary: bool = False,
        targets: Ids | None = None,
    ) -> None:
        answers = tokens if targets is None else targets
        _require(len(tokens), batch_size + 1)
        self._length = (len(tokens) - 1) // batch_size
        self._inputs = tokens[: batch_size * self._length].reshape(batch_size, -1)
        self._targets = answers[1 : batch_size * self._length + 1].reshape(batch_size, -1)
        self._bptt = bptt
        self._seed = seed
        self._vary = vary
        self._cut_epoch = -1
        self._cuts: Integers = np.empty(0, np.int64)
        self.position = Position()

    def batches_in(self, epoch: int) -> int:
        """Number of batches of an epoch, the shorter last one included."""
        return len(self._cuts_of(epoch)) - 1

    def next_batch(self) -> Batch:
        """The next window of every stream."""
        epoch, batch = self.position.epoch, self.position.batch
        streams = (np.arange(len(self._inputs)) + epoch) % len(self._inputs)
        window = slice(*self._cuts_of(epoch)[batch : batch + 2])
        begins = (streams == 0) | (epoch == 0)
        self.position = _moved_on(self.position, self.batches_in(epoch))
        return Batch(
            self._inputs[streams, window].astype(np.int64),
            self._targets[streams, window].astype(np.int64),
            begins & (batch == 0),
        )

    def _cuts_of(self, epoch: int) -> Integers:
        """Where the windows of an epoch begin and end, from 0 to the length of a stream."""
        if epoch != self._cut_epoch:
            self._cut_epoch = epoch
            lengths = self._varied(epoch) if self._vary else self._shifted(epoch)
            ends = np.cumsum(lengths)
            inner = ends[ends < self._length]
            self._cuts = np.concatenate([[0], inner, [self._length]])
        return self._cuts

    def _shifted(self, epoch: int) -> Integers:
        """Windows of T tokens; after the first epoch they begin at a random phase."""
        lengths = np.full(self._most() + 1, self._bptt)
        if epoch:
            random = np.random.default_rng((self._seed, epoch, _PHASE))
            lengths[0] = 1 + random.integers(self._bptt)
        return lengths

    def _most(self) -> int:
        return -(-self._length // self._bptt)

    def _varied(self, epoch: int) -> Integers:
        """Random lengths: one window in twenty around half of T, the others around T.

        Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018. They
        are rounded to eighths of T, for new shapes cost the matrix kernels time to prepare.
        """
        random = np.random.default_rng((self._seed, epoch, _LENGTHS))
        count = 2 * self._most() + 2
        middle = np.where(random.random(count) < HALVED, 0.5, 1.0)
        eighths = np.rint(8 * (middle + random.normal(0, SPREAD, count)))
        return np.maximum(1, np.rint(np.maximum(eighths, 1) * self._bptt / 8)).astype(np.int64)


class RandomSampler:
    """Windows of T tokens in random order, without replacement, about B at a time.

    Each epoch lays its grid of windows at another random phase, so that no position is always the
    first of its window. The windows cut short by the two ends of the split are padded with
    targets of -1, so every token but the first is a target exactly once an epoch. The windows
    are dealt to batches as evenly as possible, so no batch is a small rest. `targets` as in
    `SequentialSampler`.
    """

    def __init__(
        self,
        tokens: Ids,
        batch_size: int,
        bptt: int,
        seed: int = 1,
        *,
        vary: bool = False,
        targets: Ids | None = None,
    ) -> None:
        del vary  # its grid is laid at random anyway
        _require(len(tokens), 2)
        self._tokens = tokens
        self._targets = tokens if targets is None else targets
        self._batch_size = batch_size
        self._bptt = bptt
        self._seed = seed
        self._dealt_epoch = -1
        self._dealt: list[Integers] = []  # the starts of the windows of each batch of that epoch
        self.position = Position()

    def batches_in(self, epoch: int) -> int:
        """Number of batches of an epoch; phases differ, so it can vary by one."""
        return -(-len(self._grid(epoch)) // self._batch_size)

    def next_batch(self) -> Batch:
        """The next windows of this epoch's order."""
        epoch, batch = self.position.epoch, self.position.batch
        if epoch != self._dealt_epoch:
            order = self._random(epoch, _ORDER).permutation(self._grid(epoch))
            self._dealt = np.array_split(order, self.batches_in(epoch))
            self._dealt_epoch = epoch
        self.position = _moved_on(self.position, len(self._dealt))
        return self._read(self._dealt[batch])

    def _grid(self, epoch: int) -> Integers:
        """The starts of all windows of an epoch; the first may lie before the text."""
        phase = int(self._random(epoch, _PHASE).integers(self._bptt))
        return np.arange(-phase, len(self._tokens) - 1, self._bptt, dtype=np.int64)

    def _random(self, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, epoch, purpose))

    def _read(self, starts: Integers) -> Batch:
        last = len(self._tokens) - 1
        begins = np.maximum(starts, 0)[:, None]
        ends = np.minimum(starts + self._bptt, last)[:, None]
        places = begins + np.arange(self._bptt)
        inside = places < ends
        places = np.where(inside, places, 0)
        inputs = self._tokens[places].astype(np.int64)
        targets = np.where(inside, self._targets[places + 1].astype(np.int64), -1)
        return Batch(inputs, targets, np.ones(len(starts), np.bool_))


SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "sequential": SequentialSampler,
    "random": RandomSampler,
}


def fitting_batch_size(tokens: int, batch_size: int, bptt: int) -> int:
    """The largest batch size up to `batch_size` whose rows hold a full window of the split.

    Raises DataError, with the arithmetic, where not even one row can be filled.
    """
    rows = (tokens - 1) // bptt
    if rows < 1:
        raise DataError(
            f"the training split has {tokens:,} tokens; one window of bptt {bptt} needs {bptt + 1}",
            f"use --bptt {max(1, tokens - 1)} or less, or a longer text",
        )
    return min(batch_size, rows)


def _moved_on(position: Position, batches: int) -> Position:
    if position.batch + 1 == batches:
        return Position(position.epoch + 1, 0)
    return Position(position.epoch, position.batch + 1)


def _require(have: int, need: int) -> None:
    if have < need:
        raise DataError(f"the split has {have:,} tokens; this batch needs at least {need:,}")
