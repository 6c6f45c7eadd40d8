"""Evaluate a model on a text: one pass with carried state, or independent windows.

The carried pass reads a text from its first token to its last with one hidden state. It may be
computed in parallel streams: each is warmed up on the tokens before it, which are not counted.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from charnn.arrays import Ids, Integers
from charnn.data.samplers import IGNORE
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model.language_model import LanguageModel

WARM_UP = 1024  # tokens read before each stream's share, not counted
TOKENS_PER_STREAM = 4096  # below this share of the text a stream is mostly warm-up
MAX_STREAMS = 64
UNKNOWN = IGNORE - 1  # a target outside the vocabulary: counted, but not scored
CHUNK = 256  # tokens a stream reads at once; bounds the memory for logits


def default_streams(tokens: int) -> int:
    """How many parallel streams a carried pass over so many tokens is worth."""
    return max(1, min(MAX_STREAMS, tokens // TOKENS_PER_STREAM))


def evaluate_carried(
    model: LanguageModel,
    tokens: Ids,
    lengths: TokenLengths,
    start_token: int,
    streams: int = 1,
    warm_up: int = WARM_UP,
    share: float = 1.0,
    targets: Ids | None = None,
) -> Score:
    """Score of all N tokens, the first predicted from `start_token`, with carried state.

    One stream is the literal pass. More are quicker, and differ from it by what a context longer
    than `warm_up` tokens would have told. With a `share` below 1 each stream reads only so much
    of its part, from its beginning: a sample from all over the text. With `targets` (N,) those
    are predicted in place of the tokens; a negative one does not count.
    """
    parts = carried_scores(model, tokens, lengths, start_token, streams, warm_up, share, targets)
    return sum(parts, Score())


def carried_scores(
    model: LanguageModel,
    tokens: Ids,
    lengths: TokenLengths,
    start_token: int,
    streams: int = 1,
    warm_up: int = WARM_UP,
    share: float = 1.0,
    targets: Ids | None = None,
) -> Iterator[Score]:
    """Yield the parts of `evaluate_carried`."""
    inputs = np.concatenate([[start_token], tokens[:-1]]).astype(np.int64)
    answers = np.asarray(tokens if targets is None else targets, np.int64)
    rows = _streams(len(answers), streams, warm_up, share)
    return _scored_rows(model, inputs, answers, rows, lengths)


def evaluate_windows(
    model: LanguageModel,
    tokens: Ids,
    lengths: TokenLengths,
    window: int,
    targets: Ids | None = None,
) -> Score:
    """Score in windows of T tokens side by side, each from a state of zero (nanoGPT's protocol).

    Token 0 is context only; every later token is scored once. `targets` as in `evaluate_carried`.
    """
    inputs = np.asarray(tokens[:-1], np.int64)
    answers = np.asarray(tokens if targets is None else targets, np.int64)[1:]
    starts = range(0, len(answers), window)
    rows = [StreamSpan(start, start, min(start + window, len(answers))) for start in starts]
    score = Score()
    for first in range(0, len(rows), MAX_STREAMS):
        score += _score_rows(model, inputs, answers, rows[first : first + MAX_STREAMS], lengths)
    return score


@dataclass(frozen=True)
class StreamSpan:
    """One stream: reads from `begin`, counts from `count_from`, stops before `end`."""

    begin: int
    count_from: int
    end: int


def _streams(length: int, streams: int, warm_up: int, share: float) -> list[StreamSpan]:
    cuts = np.linspace(0, length, streams + 1).astype(int).tolist()
    rows = [
        StreamSpan(max(0, start - warm_up), start, start + math.ceil((end - start) * share))
        for start, end in itertools.pairwise(cuts)
    ]
    return [row for row in rows if row.end > row.count_from]


def _score_rows(
    model: LanguageModel,
    inputs: Integers,
    targets: Integers,
    rows: list[StreamSpan],
    lengths: TokenLengths,
) -> Score:
    return sum(_scored_rows(model, inputs, targets, rows, lengths), Score())


def _scored_rows(
    model: LanguageModel,
    inputs: Integers,
    targets: Integers,
    rows: list[StreamSpan],
    lengths: TokenLengths,
) -> Iterator[Score]:
    """Run the rows in parallel, a chunk of time at once."""
    if not rows:
        return
    with _evaluating(model):
        state = model.initial_state(len(rows))
    for chunk_inputs, chunk_targets in _chunks(inputs, targets, rows, lengths.unk_id):
        with _evaluating(model):
            logits, state = model(torch.from_numpy(chunk_inputs).to(model.device), state)
            score = score_of(logits, chunk_targets, lengths)
        yield score


def _chunks(
    inputs: Integers, targets: Integers, rows: list[StreamSpan], unk_id: int | None
) -> Iterator[tuple[Integers, Integers]]:
    """Inputs and targets (rows, CHUNK) over time, in step; a target that does not count is IGNORE.

    A row shorter than the longest is padded at its end, where nothing that counts can follow.
    """
    longest = max(row.end - row.begin for row in rows)
    for offset in range(0, longest, CHUNK):
        places = np.array([row.begin for row in rows])[:, None] + np.arange(
            offset, min(offset + CHUNK, longest)
        )
        counted = (places >= np.array([row.count_from for row in rows])[:, None]) & (
            places < np.array([row.end for row in rows])[:, None]
        )
        places = np.minimum(places, len(targets) - 1)
        scored = np.where(targets[places] == unk_id, UNKNOWN, targets[places])
        yield inputs[places], np.where(counted, scored, IGNORE)


def score_of(logits: torch.Tensor, targets: Integers, lengths: TokenLengths) -> Score:
    """Score of targets (B, T) under logits (B, T, V); negative targets do not count."""
    known = targets[targets >= 0]
    unknown = Score(unknown=int(np.count_nonzero(targets == UNKNOWN)))
    if not len(known):
        return unknown
    scored = torch.from_numpy(targets >= 0).to(logits.device)
    nats = F.cross_entropy(
        logits[scored].float(), torch.from_numpy(known).to(logits.device), reduction="none"
    )
    return lengths.score(nats.double().cpu().numpy(), known) + unknown


@contextlib.contextmanager
def _evaluating(model: LanguageModel) -> Iterator[None]:
    """No dropout and no graph inside; the model's mode comes back as it was."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
