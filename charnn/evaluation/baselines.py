"""Baselines without a network: unigram, Kneser-Ney n-grams, xz.

Shapes: N tokens of training text, M of held-out text, V vocab_size.
"""

import lzma
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from charnn.arrays import Bools, Doubles, Ids, Integers
from charnn.evaluation.metrics import bits
from charnn.tokenizers.utf8 import count_chars

ORDER = 5
LEARNT = 2_000_000  # tokens that the ladder learns from; bounds its time to a few seconds,
JUDGED = 500_000  # as does how many it predicts,
PACKED = 4_000_000  # and how many bytes of the text before these xz packs


def unigram_nats(train: Ids, held_out: Ids, vocab_size: int) -> Doubles:
    """-ln p of each held-out token, (M,), by its frequency in training."""
    nats: Doubles = -unigram(np.bincount(train, minlength=vocab_size))[held_out]
    return nats


def unigram(counts: Integers) -> Doubles:
    """Log probability of each symbol, (V,) in nats, from how often it was seen, plus one."""
    log_probabilities: Doubles = np.log((counts + 1) / (counts + 1).sum())
    return log_probabilities


def kneser_ney_nats(train: Ids, held_out: Ids, vocab_size: int, order: int) -> Doubles:
    """-ln p of each held-out token, (M,), by interpolated Kneser-Ney n-grams of this order.

    Kneser and Ney, "Improved backing-off for m-gram language modeling", 1995; one discount an
    order, n1 / (n1 + 2 n2), as Chen and Goodman (1999) estimate it. Held-out text follows on the
    training text, whose end is its first context.
    """
    text = np.concatenate([train, held_out]).astype(np.int64)
    in_training = np.arange(len(text)) < len(train)
    grams, contexts = _grams(text, vocab_size, order)
    probabilities = np.full(len(held_out), 1 / vocab_size)
    for k in range(1, order + 1):
        # Lower orders count in how many contexts a gram was seen, not how often.
        counted = in_training if k == order else _first_occurrences(grams[k + 1], in_training)
        probabilities = _interpolated(grams[k], contexts[k], counted, in_training, probabilities)
    nats: Doubles = -np.log(probabilities)
    return nats


def _grams(
    text: Integers, vocab_size: int, order: int
) -> tuple[dict[int, Integers], dict[int, Integers]]:
    """For each order k and place, a number for the k tokens that end there, and their context.

    Equal grams have equal numbers. Before the beginning of the text stands a token of its own.
    """
    grams: dict[int, Integers] = {1: text}
    contexts: dict[int, Integers] = {1: np.zeros(len(text), np.int64)}
    for k in range(2, order + 1):
        before = np.concatenate([[-1], grams[k - 1][:-1]]) + 1
        contexts[k] = before
        _, grams[k] = np.unique(before * vocab_size + text, return_inverse=True)
    return grams, contexts


def _first_occurrences(gram: Integers, among: Bools) -> Bools:
    """Marks the first place of each different gram among the places marked."""
    places = np.flatnonzero(among)
    _, first = np.unique(gram[places], return_index=True)
    marks = np.zeros(len(gram), np.bool_)
    marks[places[first]] = True
    return marks


def _interpolated(
    gram: Integers,
    context: Integers,
    counted: Bools,
    in_training: Bools,
    lower: Doubles,
) -> Doubles:
    """Probabilities of one order over those of the order below."""
    gram_counts = np.bincount(gram[counted], minlength=int(gram.max()) + 1)
    context_counts = np.bincount(context[counted], minlength=int(context.max()) + 1)
    kinds_seen = _first_occurrences(gram, counted)
    followers = np.bincount(context[kinds_seen], minlength=len(context_counts))
    once, twice = (np.count_nonzero(gram_counts == n) for n in (1, 2))
    discount = once / (once + 2 * twice) if once else 0.5
    held_out = ~in_training
    count, total = gram_counts[gram[held_out]], context_counts[context[held_out]]
    known = np.maximum(total, 1)
    weight = np.where(total > 0, discount * followers[context[held_out]] / known, 1.0)
    own = np.where(total > 0, np.maximum(count - discount, 0) / known, 0.0)
    interpolated: Doubles = own + weight * lower
    return interpolated


def xz_bits(train: bytes, held_out: bytes) -> float:
    """Bits that `held_out` adds to the xz archive of `train`."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]

    def size(data: bytes) -> int:
        return len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters))

    with ThreadPoolExecutor() as threads:
        both, alone = threads.map(size, (train + held_out, train))
    return 8.0 * (both - alone)


def ladder(
    train: Ids, held_out: Ids, pieces: Sequence[bytes], unk_id: int | None
) -> dict[str, float]:
    """Bits per character of the held-out text: unigram, 5-gram, xz.

    All learn from the last LEARNT tokens of the training text at most, and are judged on the
    first JUDGED of the held-out text. Tokens outside the vocabulary are left out, as they are
    when a model is scored.
    """
    train, held_out = train[-LEARNT:], held_out[:JUDGED]
    known = held_out != (-1 if unk_id is None else unk_id)
    text = b"".join([pieces[index] for index in held_out[known]])
    characters = count_chars(text)
    before = b"".join([pieces[index] for index in train])[-PACKED:]
    with ThreadPoolExecutor() as threads:  # xz and what NumPy sorts do not keep each other waiting
        xz = threads.submit(xz_bits, before, text)
        nats = {
            "unigram": unigram_nats(train, held_out, len(pieces)),
            f"{ORDER}-gram": kneser_ney_nats(train, held_out, len(pieces), ORDER),
        }
    rows = {name: bits(float(n[known].sum()), characters) for name, n in nats.items()}
    return {**rows, "xz": xz.result() / characters if characters else math.nan}
