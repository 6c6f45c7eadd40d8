"""Cut a split into windows and batches of (inputs, targets), in sequence or at random.

`SequentialSampler` reads parallel streams whose hidden state is carried from batch to batch;
`RandomSampler` reads windows in random order, each from a state of zero. A position can be saved
and restored.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np

from charnn.arrays import Bools, Ids, Integers
from charnn.config import TrainConfig
from charnn.errors import DataError

_PHASE, _ORDER, _LENGTHS = 0, 1, 2  # independent random streams of an epoch
# Random lengths of windows: the probability of a mean of T/2 instead of T, as in Merity and others
# (2018), and the standard deviation in units of T. They use 5 of 70 tokens, 0.07; 0.1 is 0.8 of an
# eighth of T, to which lengths are rounded here, so that half of the windows differ from T.
HALVED, SPREAD = 0.05, 0.1


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
    """The next batch of a sampler: its epoch, counted from 0, and its number in the epoch."""

    epoch: int = 0
    batch: int = 0


class Sampler(Protocol):
    """An endless sequence of batches, epoch after epoch."""

    position: Position

    @classmethod
    def from_config(cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None) -> Self:
        """Return the sampler that the settings of a run describe."""
        ...

    def batches_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        ...

    def next_batch(self) -> Batch:
        """Return the batch at `position`, and advance `position` by one batch."""
        ...


class SequentialSampler:
    """Cuts a split into B streams of equal length and reads them in parallel, T tokens at a time.

    In the first epoch row b reads stream b. In each later epoch every row reads the next stream:
    the row that has read stream b continues with stream b + 1, which follows it in the text, so
    its hidden state remains valid. Only the row that returns to the first stream is fresh.
    Each later epoch begins with a window of random length, 1 … T, so that its batches are not those
    of the epoch before (compare Press, "Partially shuffling the training data to improve language
    models", 2019; benchmarks/README.md measures the gain). The last window of an epoch is shorter
    if T does not divide the rest. Up to B tokens at the end of the split are left out.
    `random_bptt` draws the lengths of windows at random around T. `targets`, (N,), replaces the
    tokens as what is predicted: `targets[i]` from the tokens before i.
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
    def from_config(cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None) -> Self:
        """Return the sampler that the settings of a run describe."""
        return cls(
            tokens,
            config.batch_size,
            config.bptt,
            config.seed,
            random_bptt=config.random_bptt,
            targets=targets,
        )

    def batches_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch, the shorter last one included."""
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
        """Return where the windows of an epoch begin and end, from 0 to the length of a stream."""
        if epoch != self._cut_epoch:
            self._cut_epoch = epoch
            lengths = self._random_lengths if self._random_bptt else self._fixed_lengths
            ends = np.cumsum(lengths(epoch))
            inner = ends[ends < self._length]
            self._cuts = np.concatenate([[0], inner, [self._length]])
        return self._cuts

    def _fixed_lengths(self, epoch: int) -> Integers:
        """Return windows of T tokens; after the first epoch the first one is shorter."""
        lengths = np.full(self._full_windows() + 1, self._bptt)
        if epoch:
            random = np.random.default_rng((self._seed, epoch, _PHASE))
            lengths[0] = 1 + random.integers(self._bptt)
        return lengths

    def _full_windows(self) -> int:
        """Return how many windows of T tokens cover a stream."""
        return -(-self._length // self._bptt)

    def _random_lengths(self, epoch: int) -> Integers:
        """Return random lengths: one window in twenty around half of T, the others around T.

        Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018. They
        are rounded to eighths of T, because matrix kernels take time to prepare for a new shape.
        """
        random = np.random.default_rng((self._seed, epoch, _LENGTHS))
        count = 2 * self._full_windows() + 2
        middle = np.where(random.random(count) < HALVED, 0.5, 1.0)
        eighths = np.rint(8 * (middle + random.normal(0, SPREAD, count)))
        return np.maximum(1, np.rint(np.maximum(eighths, 1) * self._bptt / 8)).astype(np.int64)


class RandomSampler:
    """Reads windows of T tokens in random order, without replacement, about B at a time.

    The grid of windows has another random offset in each epoch, so that no token is always the
    first of its window. The windows cut short by the two ends of the split are padded with
    targets of -1, so every token but the first is a target exactly once an epoch. The windows
    are divided among the batches as evenly as possible, so no batch is a small remainder. `targets`
    as in `SequentialSampler`.
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
        self._batches: list[Integers] = []  # of that epoch: starts of the windows of each batch
        self.position = Position()

    @classmethod
    def from_config(cls, config: TrainConfig, tokens: Ids, targets: Ids | None = None) -> Self:
        """Return the sampler that the settings of a run describe."""
        return cls(tokens, config.batch_size, config.bptt, config.seed, targets=targets)

    def batches_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch; it can differ by one between epochs."""
        return -(-len(self._grid(epoch)) // self._batch_size)

    def next_batch(self) -> Batch:
        """Return the next windows in the order of this epoch."""
        epoch, batch = self.position.epoch, self.position.batch
        if epoch != self._batches_epoch:
            order = self._random(epoch, _ORDER).permutation(self._grid(epoch))
            self._batches = np.array_split(order, self.batches_in(epoch))
            self._batches_epoch = epoch
        self.position = _next_position(self.position, len(self._batches))
        return self._read(self._batches[batch])

    def _grid(self, epoch: int) -> Integers:
        """Return the starts of all windows of an epoch; the first can be before the text."""
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


SAMPLERS: dict[str, type[Sampler]] = {
    "sequential": SequentialSampler,
    "random": RandomSampler,
}


def fitting_batch_size(tokens: int, batch_size: int, bptt: int) -> int:
    """Return the largest batch size up to `batch_size` at which a row holds a whole window.

    Raises DataError if the split is shorter than one window.
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
        raise DataError(f"the split has {have:,} tokens; this batch needs at least {need:,}")
