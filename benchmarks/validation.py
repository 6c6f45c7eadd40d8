"""How validation during training depends on the number of streams and on their warm-up.

    python benchmarks/validation.py [--steps 200] [--rounds 15] [--threads N]

A network of the preset `small` is trained on the embedded text. A validation scores tokens at equal
distances in the validation split: MIN_VALIDATED of them, or the whole split. The first table is the
time of the fastest one by the number of parallel streams, each read after SHORT_WARM_UP tokens that
are not scored. The second is how far the loss of MIN_VALIDATED tokens is from the loss of the same
tokens in one pass with carried state, by the length of the warm-up and the number of training
steps; a constant difference does not change which of two models has the lower loss. The last line
is the standard error of a loss by the number of tokens.
"""

import argparse
import itertools
import time

import numpy as np
import torch
from machine import print_table, title

from charnn.evaluation.evaluate import carried_scores
from charnn.evaluation.metrics import Score
from charnn.lab.small_models import Book, embedded_book, new_small_loop
from charnn.model.language_model import LanguageModel
from charnn.training.time_budget import MIN_VALIDATED
from charnn.training.validation import SHORT_WARM_UP, STREAMS, TRAIN_SCORED

STREAM_COUNTS = (1, 4, 8, 16, 32, 64, 128)
WARM_UPS = (0, 16, 32, 64, 128, 256, 512)
SETTINGS = {"hidden_size": 256, "embedding_dim": 128, "batch_size": 32, "lr": 6e-3}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    book = embedded_book()
    loop = new_small_loop({**SETTINGS, "steps": 2 * options.steps}, book.vocab_size, book.train)
    differences = []
    for _ in range(2):
        for _ in range(options.steps):
            loop.update()
        differences.append(differences_of(loop.model, book))
    print(f"{title('torch', remarks=[f'{options.threads} threads'])}\n")
    sizes = (MIN_VALIDATED, len(book.val))
    times = [seconds_of(loop.model, book, options.rounds, size) for size in sizes]
    print_table(
        ("streams", *(f"seconds for {n:,} tokens, against {STREAMS} streams" for n in sizes)),
        ([str(n), *(f"{t[n] / t[STREAMS]:.2f}" for t in times)] for n in STREAM_COUNTS),
    )
    print()
    print_table(
        (
            "warm-up, tokens",
            *(f"after {n * options.steps} steps" for n in (1, 2)),
            "the difference",
        ),
        (
            [str(w), f"{first:+.4f}", f"{second:+.4f}", f"{second - first:+.4f}"]
            for w, first, second in zip(WARM_UPS, *differences, strict=True)
        ),
    )
    whole = score(loop.model, book, 1, 0, 1.0)
    deviation = whole.loss_stderr * np.sqrt(whole.tokens - 1)
    errors = (f"{n:,} tokens: {deviation / np.sqrt(n):.4f}" for n in (MIN_VALIDATED, TRAIN_SCORED))
    print(f"\nStandard error of a loss of {whole.loss:.2f} nats: {', '.join(errors)}.")


def score(
    model: LanguageModel,
    book: Book,
    streams: int,
    warm_up: int,
    fraction: float,
    targets: np.ndarray | None = None,
) -> Score:
    """Return the score of one validation."""
    parts = carried_scores(
        model, book.val, book.lengths, book.start_token, streams, warm_up, fraction, targets
    )
    return sum(parts, Score())


def seconds_of(model: LanguageModel, book: Book, rounds: int, tokens: int) -> dict[int, float]:
    """Return the seconds of the fastest validation by number of streams; the numbers take turns."""
    fraction = tokens / len(book.val)
    seconds = dict.fromkeys(STREAM_COUNTS, float("inf"))
    for _, count in itertools.product(range(rounds), STREAM_COUNTS):
        begin = time.perf_counter()
        score(model, book, count, SHORT_WARM_UP, fraction)
        seconds[count] = min(seconds[count], time.perf_counter() - begin)
    return seconds


def differences_of(model: LanguageModel, book: Book) -> list[float]:
    """Return the loss in STREAMS streams minus that of one pass, for each warm-up."""
    fraction = MIN_VALIDATED / len(book.val)
    cuts = np.linspace(0, len(book.val), STREAMS + 1).astype(np.int64)
    targets = np.full(len(book.val), -1)
    for start, end in itertools.pairwise(cuts):
        part = slice(start, start + int(np.ceil((end - start) * fraction)))
        targets[part] = book.val[part]
    exact = score(model, book, 1, 0, 1.0, targets).loss
    return [score(model, book, STREAMS, warm_up, fraction).loss - exact for warm_up in WARM_UPS]


if __name__ == "__main__":
    main()
