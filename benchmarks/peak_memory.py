"""Measure the peak memory of commands on large inputs; print a Markdown table.

    python benchmarks/peak_memory.py [--only TEXT]

Memory is the largest resident set of a whole command, less that of the same command without the
option, or on a small text. `--only` selects the rows whose names contain a text. The evaluation
with 50,000 words takes a minute.
"""

import argparse
import contextlib
import multiprocessing
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from machine import measured, print_table, title
from random_data import random_text, write_random_model

MEGA = 1_000_000
WORDS = 300_000  # words to evaluate: enough for all parallel streams
SMALL = {"hidden_size": 64, "embedding_dim": 64}  # network of the evaluation


class Case(NamedTuple):
    """A row: a function that writes the input, two commands to compare, and the most memory."""

    name: str
    write: Callable[[], None]
    baseline: str
    command: str
    most: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Peak memory of commands on large inputs.")
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    print(f"{title('numpy', 'tokenizers')}\n")
    print_table(("command", "peak memory", "target"), rows(only))


def rows(only: str) -> Iterator[tuple[str, ...]]:
    """Write the input of each case, run its commands, and yield its row."""
    for case in CASES:
        if only not in case.name:
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            # In another process: the resident set of a process begins with that of its parent.
            writer = multiprocessing.get_context("spawn").Process(target=case.write)
            writer.start()
            writer.join()
            assert writer.exitcode == 0, case.name
            before, after = (
                measured([sys.executable, "-m", "charnn", *shlex.split(command), "-q"])[1]
                for command in (case.baseline, case.command)
            )
        yield case.name, f"{(after - before) / MEGA:,.0f} MB", f"≤ {case.most / MEGA:,.0f} MB"


def write_corpus(characters: int) -> None:
    """Write a dataset of characters and a model of it."""
    from charnn.config import PrepareConfig
    from charnn.data.dataset import new_dataset, write_dataset
    from charnn.data.prepare import encode_split
    from charnn.tokenizers.char import CharTokenizer

    text = random_text(characters)
    tokenizer = CharTokenizer.build(text)
    splits = {"train": encode_split(text, tokenizer)}
    dataset = new_dataset(Path("data", "corpus"), tokenizer, splits, PrepareConfig())
    write_dataset(dataset)
    write_random_model(Path("m.safetensors"), tokenizer, dataset.fingerprint)
    Path("line.txt").write_text(text[1000:1100])


def write_texts(characters: int) -> None:
    """Write a large and a small text."""
    Path("large.txt").write_text(random_text(characters))
    Path("small.txt").write_text(random_text(10_000))


def write_word_model(vocab_size: int) -> None:
    """Write a model of words, a text of WORDS words and a text of ten words."""
    from charnn.tokenizers.words import WordTokenizer

    words = [f" w{number}" for number in range(vocab_size)]
    write_random_model(Path("m.safetensors"), WordTokenizer.build("".join(words)), **SMALL)
    Path("large.txt").write_text("".join(words * (WORDS // vocab_size)))
    Path("small.txt").write_text("".join(words[:10]))


CASES = (
    Case(
        "sample --novel, training text of 10 MB",
        partial(write_corpus, 10 * MEGA),
        "sample m.safetensors --seed 1 -n 200",
        "sample m.safetensors --seed 1 -n 200 --novel 20",
        30 * MEGA,  # the text, and 2 bytes per character
    ),
    Case(
        "score --overlap, training text of 10 MB",
        partial(write_corpus, 10 * MEGA),
        "score m.safetensors line.txt",
        "score m.safetensors line.txt --overlap",
        120 * MEGA,
    ),
    Case(
        "prepare --tokenizer bpe, 20 MB",
        partial(write_texts, 20 * MEGA),
        "prepare small.txt --tokenizer bpe",
        "prepare large.txt --tokenizer bpe",
        190 * MEGA,
    ),
    *(
        Case(
            f"eval, {size:,} words in the vocabulary",
            partial(write_word_model, size),
            "eval m.safetensors small.txt",
            "eval m.safetensors large.txt",
            256 * MEGA,
        )
        for size in (10_000, 50_000)
    ),
)


if __name__ == "__main__":
    main()
