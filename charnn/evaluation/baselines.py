"""Compute baselines without a network: unigram, Kneser-Ney n-grams, xz.

Shapes: N tokens of training text, M of held-out text, V vocab_size.
"""

import lzma
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from charnn.arrays import Bools, Doubles, Ids, Integers
from charnn.evaluation.metrics import NATS_PER_BIT, Score, TokenLengths, mask_unknown
from charnn.tokenizers.unknown_model import discount, interpolated

ORDER = 5  # tokens of an n-gram: KN5, the usual baseline (Mikolov and others, 2010)
# These bound the time of `evaluate_baselines` to a few seconds; smaller texts are used whole.
MAX_TRAIN_TOKENS = 2_000_000
MAX_SCORED_TOKENS = 500_000
MAX_XZ_BYTES = 4_000_000  # bytes of training text


def unigram_nats(train: Ids, held_out: Ids, vocab_size: int, unk_id: int | None = None) -> Doubles:
    """Return -ln p of each held-out token in nats, (M,), by its frequency in training.

    `<unk>` is not counted: the result is the probability among the tokens in the vocabulary.
    """
    counts = np.bincount(train, minlength=vocab_size)
    if unk_id is not None:
        counts[unk_id] = 0
    nats: Doubles = -unigram(counts)[held_out]
    return nats


def unigram(counts: Integers) -> Doubles:
    """Return ln p of each symbol, (V,), with add-one smoothing of its count."""
    log_probabilities: Doubles = np.log((counts + 1) / (counts + 1).sum())
    return log_probabilities


def kneser_ney_nats(
    train: Ids,
    held_out: Ids,
    vocab_size: int,
    order: int,
    unk_id: int | None = None,
    record_end: int | None = None,
) -> Doubles:
    """Return -ln p of each held-out token in nats, (M,), by an interpolated Kneser-Ney model.

    Kneser and Ney, "Improved backing-off for m-gram language modeling", 1995; one discount per
    order, n1 / (n1 + 2 n2), estimated as in Chen and Goodman, "An empirical study of smoothing
    techniques for language modeling", 1999. The end of the training text is the first context of
    the held-out text. As in the training of a network, `<unk>` is a context but never predicted.
    If the texts are records, `record_end` is the token that ends each; contexts do not extend
    across it.
    """
    text = np.concatenate([train, held_out]).astype(np.int64)
    in_training = np.arange(len(text)) < len(train)
    known = in_training & (mask_unknown(text, unk_id) >= 0)
    ngrams, contexts = _ngrams(text, vocab_size, order, record_end)
    probabilities = np.full(len(held_out), 1 / vocab_size)
    for n in range(1, order + 1):
        # The highest order uses counts of occurrences. Lower orders use continuation counts: the
        # number of different tokens before an n-gram, which is the number of different
        # (n + 1)-grams that end with it.
        counted = known if n == order else _first_occurrences(ngrams[n + 1], known)
        probabilities = _interpolated(ngrams[n], contexts[n], counted, ~in_training, probabilities)
    nats: Doubles = -np.log(probabilities)
    return nats


def _ngrams(
    text: Integers, vocab_size: int, order: int, record_end: int | None
) -> tuple[dict[int, Integers], dict[int, Integers]]:
    """Return the id of the n-gram that ends at each position, and the id of its context, by n.

    Equal n-grams have equal ids. Before the text, and before each record, there is a special start
    token.
    """
    begins = 1 + np.flatnonzero(text[:-1] == (-1 if record_end is None else record_end))
    ngrams: dict[int, Integers] = {1: text}
    contexts: dict[int, Integers] = {1: np.zeros(len(text), np.int64)}
    for n in range(2, order + 1):
        contexts[n] = np.concatenate([[-1], ngrams[n - 1][:-1]]) + 1
        contexts[n][begins] = 0
        _, ngrams[n] = np.unique(contexts[n] * vocab_size + text, return_inverse=True)
    return ngrams, contexts


def _first_occurrences(ngrams: Integers, mask: Bools) -> Bools:
    """Return a mask of the first occurrence of each different n-gram within `mask`."""
    positions = np.flatnonzero(mask)
    _, first = np.unique(ngrams[positions], return_index=True)
    is_first = np.zeros(len(ngrams), np.bool_)
    is_first[positions[first]] = True
    return is_first


def _interpolated(
    ngrams: Integers,
    contexts: Integers,
    counted: Bools,
    held_out: Bools,
    lower_order: Doubles,
) -> Doubles:
    """Return p of each held-out token, (M,), from the counts of one order and the lower p, (M,)."""
    counts = np.bincount(ngrams[counted], minlength=int(ngrams.max()) + 1)
    context_counts = np.bincount(contexts[counted], minlength=int(contexts.max()) + 1)
    followers = np.bincount(
        contexts[_first_occurrences(ngrams, counted)], minlength=len(context_counts)
    )
    count, context = counts[ngrams[held_out]], contexts[held_out]
    return interpolated(
        count, context_counts[context], followers[context], discount(counts), lower_order
    )


def xz_bits(train: bytes, held_out: bytes) -> float:
    """Return the number of bits that `held_out` adds to the compressed size of `train`."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]

    def size(data: bytes) -> int:
        return len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters))

    with ThreadPoolExecutor() as threads:
        both, alone = threads.map(size, (train + held_out, train))
    return 8.0 * (both - alone)


def evaluate_baselines(
    train: Ids,
    held_out: Ids,
    pieces: Sequence[bytes],
    lengths: TokenLengths,
    record_end: int | None = None,
) -> dict[str, float]:
    """Return bits per character of the held-out text by baseline: unigram, 5-gram, xz.

    The baselines are fit to the last MAX_TRAIN_TOKENS tokens of the training text and predict the
    first MAX_SCORED_TOKENS of the held-out text. Out-of-vocabulary tokens cost what `lengths` says,
    as for a network; where it does not say, they are left out. In texts of records, which end with
    the token `record_end`, the context of an n-gram begins with its record; xz reads one text.
    """
    train, held_out = train[-MAX_TRAIN_TOKENS:], held_out[:MAX_SCORED_TOKENS]
    unk_id, size = lengths.unk_id, len(pieces)
    with ThreadPoolExecutor() as threads:  # xz and NumPy's sorts run in parallel
        xz = threads.submit(xz_score, train, held_out, pieces, lengths)
        nats = {
            "unigram": unigram_nats(train, held_out, size, unk_id),
            f"{ORDER}-gram": kneser_ney_nats(train, held_out, size, ORDER, unk_id, record_end),
        }
    scores = {name: lengths.score(each, held_out) for name, each in nats.items()}
    scores["xz"] = xz.result()
    return {name: score.comparable_bits for name, score in scores.items()}


def xz_score(train: Ids, held_out: Ids, pieces: Sequence[bytes], lengths: TokenLengths) -> Score:
    """Return the score of a held-out text by xz, which compresses its tokens in the vocabulary."""
    known = held_out[mask_unknown(held_out, lengths.unk_id) >= 0]
    data = [b"".join([pieces[index] for index in ids]) for ids in (train, known)]
    free = lengths.score(np.zeros(len(held_out)), held_out)
    return replace(free, nats=xz_bits(data[0][-MAX_XZ_BYTES:], data[1]) * NATS_PER_BIT)
