"""Evaluate a model on a text: one pass with carried state, independent windows, or records.

The carried pass reads a text from the first token to the last and carries the hidden state. It can
be split into parallel streams, each of which is warmed up on the tokens before its part. Windows
and records begin from the zero state.

Shapes: B streams, T time, V vocab_size, N tokens of a text.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from charnn.arrays import Bools, Doubles, Ids, Integers
from charnn.data.records import record_bounds
from charnn.evaluation.metrics import BlockSums, Score, TokenLengths, mask_unknown
from charnn.model.language_model import LanguageModel
from charnn.model.loss import positions_at_once, token_nats

# Tokens before its part that a stream reads without scoring them. With 1,024 of them the loss is
# within 0.002 nats of the exact pass even if cells forget slowly
# (tests/evaluation/test_evaluate.py).
WARM_UP = 1024
TOKENS_PER_STREAM = 4 * WARM_UP  # so that at most a fifth of what a stream reads is warm-up
MAX_STREAMS = 64  # parallel streams; 64 rows use a CPU well (benchmarks/README.md, sampling.py)
CHUNK = 256  # maximum tokens that each stream reads at once; a large vocabulary allows fewer


def default_streams(tokens: int) -> int:
    """Return the number of parallel streams for a carried pass over this many tokens."""
    return max(1, min(MAX_STREAMS, tokens // TOKENS_PER_STREAM))


def evaluate_carried(
    model: LanguageModel,
    tokens: Ids,
    lengths: TokenLengths,
    start_token: int,
    streams: int = 1,
    warm_up: int = WARM_UP,
    targets: Ids | None = None,
) -> Score:
    """Return the score of all N tokens with carried state: the sum of `carried_scores`."""
    scores = carried_scores(model, tokens, lengths, start_token, streams, warm_up, targets=targets)
    return sum(scores, Score())


def carried_scores(
    model: LanguageModel,
    tokens: Ids,
    lengths: TokenLengths,
    start_token: int,
    streams: int = 1,
    warm_up: int = WARM_UP,
    fraction: float = 1.0,
    targets: Ids | None = None,
) -> Iterator[Score]:
    """Yield the score of each chunk of N tokens with carried state, beginning at `start_token`.

    The sum of the scores is the score of the text. Between two chunks the mode of the model and
    the autograd mode are those of the caller, so that the caller may save or stop there.

    One stream is the exact pass. More streams are faster, but lack the context before their
    warm-up. With a `fraction` below 1 each stream reads only that fraction of its part, from the
    start of it: a sample of the whole text. With `targets` (N,) those are predicted instead of the
    tokens; a negative one is not scored.
    """
    text = Text(tokens, tokens if targets is None else targets, start_token)
    spans = _parts(len(tokens), streams, warm_up, fraction)
    return _scores(model, text, spans, lengths, at_once=streams)


def evaluate_windows(
    model: LanguageModel,
    tokens: Ids,
    lengths: TokenLengths,
    window: int,
    targets: Ids | None = None,
) -> Score:
    """Return the score in independent windows of T tokens, each from the zero state.

    Token 0 is context only; every other token is scored once, as in nanoGPT. For `targets` see
    `carried_scores`.
    """
    text = Text(tokens, tokens if targets is None else targets)
    starts = np.arange(1, len(tokens), window)
    spans = Spans(starts, starts, np.minimum(starts + window, len(tokens)))
    return sum(_scores(model, text, spans, lengths), Score())


def record_scores(
    model: LanguageModel,
    tokens: Ids,
    lengths: TokenLengths,
    start_token: int,
    fraction: float = 1.0,
    targets: Ids | None = None,
) -> Iterator[Score]:
    """Yield the scores of the records of a text; their sum is the score of the text.

    Each record begins from the zero state after `start_token`, which also ends it. With a
    `fraction` below 1 only that fraction of the records is read, distributed over the text. For
    the caller between two scores, and for `targets`, see `carried_scores`.
    """
    text = Text(tokens, tokens if targets is None else targets, start_token)
    bounds = record_bounds(tokens, start_token).astype(np.int64)
    records = len(bounds) - 1
    chosen = np.linspace(0, records, math.ceil(records * fraction), endpoint=False).astype(np.int64)
    chosen = chosen[np.argsort(np.diff(bounds)[chosen], kind="stable")]  # similar lengths together
    spans = Spans(bounds[chosen], bounds[chosen], bounds[chosen + 1])
    yield from _scores(model, text, spans, lengths)


@dataclass(frozen=True)
class Text:
    """A text of N tokens to evaluate: target i is predicted from the tokens before position i.

    The input before token 0 is `start_token`. The arrays keep the narrow type of the dataset.
    """

    tokens: Ids
    targets: Ids
    start_token: int = 0

    def inputs_at(self, positions: Integers) -> Integers:
        """Return the token before each position."""
        before = self.tokens[np.maximum(positions - 1, 0)].astype(np.int64)
        return np.where(positions > 0, before, self.start_token)

    def targets_at(self, positions: Integers) -> Integers:
        """Return the target at each position."""
        return self.targets[positions].astype(np.int64)


class Spans(NamedTuple):
    """The parts of the text that B streams read: `begins` to `ends`, scored from `scored_from`."""

    begins: Integers
    scored_from: Integers
    ends: Integers

    def only(self, rows: slice | Bools) -> "Spans":
        """Return some of the streams."""
        return Spans(*(part[rows] for part in self))


def _parts(length: int, streams: int, warm_up: int, fraction: float) -> Spans:
    """Divide a text evenly among the streams, each starting up to `warm_up` tokens earlier."""
    cuts = np.linspace(0, length, streams + 1).astype(np.int64)
    starts, sizes = cuts[:-1], np.ceil(np.diff(cuts) * fraction).astype(np.int64)
    spans = Spans(np.maximum(starts - warm_up, 0), starts, starts + sizes)
    return spans.only(sizes > 0)


def _scores(
    model: LanguageModel,
    text: Text,
    spans: Spans,
    lengths: TokenLengths,
    at_once: int = MAX_STREAMS,
) -> Iterator[Score]:
    """Run streams, `at_once` in parallel, and yield the score of each chunk of time.

    The last score has the moments of the blocks of the text.
    """
    blocks = BlockSums(int((spans.ends - spans.scored_from).sum()))
    for first in range(0, len(spans.begins), at_once):
        group = spans.only(slice(first, first + at_once))
        rows = len(group.begins)
        state = model.initial_state(rows)
        length = min(CHUNK, positions_at_once(rows, model.config.vocab_size))
        for positions, inputs, targets in _chunks(text, group, length):
            with _evaluating(model):  # not around the yield, during which the caller runs
                logits, state = model(torch.from_numpy(inputs).to(model.device), state)
                nats = _nats_of(logits, targets)
            scored = mask_unknown(targets, lengths.unk_id) >= 0
            blocks.add(positions[scored], nats[scored])
            yield lengths.score_part(nats.ravel(), targets.ravel())
    yield Score(blocks=blocks.moments())


def _chunks(text: Text, spans: Spans, length: int) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Yield positions, inputs and targets, (B, length), in order of time.

    The target -1 is not scored. Streams shorter than the longest are padded at the end, after all
    of their scored tokens.
    """
    begins, scored_from, ends = (part[:, None] for part in spans)
    longest = (ends - begins).max(initial=0)
    for offset in range(0, int(longest), length):
        positions = begins + np.arange(offset, min(offset + length, longest))
        scored = (positions >= scored_from) & (positions < ends)
        positions = np.minimum(positions, len(text.targets) - 1)
        targets = np.where(scored, text.targets_at(positions), -1)
        yield positions, text.inputs_at(positions), targets


def _nats_of(logits: torch.Tensor, targets: Integers) -> Doubles:
    """Return -ln p of targets (B, T) given logits (B, T, V); 0 for negative targets."""
    nats = token_nats(logits, torch.from_numpy(targets).to(logits.device))
    return nats.double().cpu().numpy()


@contextlib.contextmanager
def _evaluating(model: LanguageModel) -> Iterator[None]:
    """Disable dropout and autograd inside the block, and then restore the mode of the model."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
