"""Cut a text into training, validation and test splits, by length or by lines."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from charnn.tokenizers.tokenizer import Text

SPLITS = ("train", "val", "test")


def split_text(text: Text, val_frac: float, test_frac: float) -> dict[str, Text]:
    """Cut a text into contiguous train, val and test splits; empty splits are omitted.

    With a `val_frac` of 0.1 the first `int(n * 0.9)` of n symbols are for training, as in nanoGPT.
    """
    train_end, val_end = _bounds(len(text), val_frac, test_frac)
    parts = {"train": text[:train_end], "val": text[train_end:val_end], "test": text[val_end:]}
    return {name: part for name, part in parts.items() if part}


def split_records(text: Text, val_frac: float, test_frac: float, seed: int) -> dict[str, Text]:
    """Shuffle the lines of a text with the seed and cut them into train, val and test splits.

    Every record ends in a newline, including the last one.
    """
    lines, newline = _lines(text)
    order = np.random.default_rng(seed).permutation(len(lines))
    train_end, val_end = _bounds(len(lines), val_frac, test_frac)
    chosen = {"train": order[:train_end], "val": order[train_end:val_end], "test": order[val_end:]}
    return {
        name: newline.join([lines[i] for i in part]) + newline
        for name, part in chosen.items()
        if len(part)
    }


def _lines(text: Any) -> tuple[list[Any], Any]:
    """Return the lines of a text, and the newline; `splitlines` also splits at U+2028 etc."""
    newline: Any = "\n" if isinstance(text, str) else b"\n"
    return text.removesuffix(newline).split(newline) if text else [], newline


def distinct_records(texts: Mapping[str, Text]) -> tuple[dict[str, Text], int]:
    """Return the texts of the splits without repeated lines, and the number of lines removed.

    A line that occurs in several splits stays in the last one of them, so that the training text
    has no line of a given validation or test text.
    """
    distinct: dict[str, Text] = {}
    seen: set[Any] = set()
    removed = 0
    for name in reversed(SPLITS):
        if name in texts:
            lines, newline = _lines(texts[name])
            kept = [line for line in dict.fromkeys(lines) if line not in seen]
            seen.update(kept)
            removed += len(lines) - len(kept)
            distinct[name] = newline.join([*kept, newline[:0]])
    return distinct, removed


def count_records(text: Text) -> int:
    """Return the number of lines of a text that ends with a newline."""
    return text.count("\n") if isinstance(text, str) else text.count(b"\n")


def count_shared_records(train: Text, val: Text) -> int:
    """Return the number of lines of `val` that also occur in `train`."""
    counts = Counter(_lines(val)[0])
    shared = {line for line in _lines(train)[0] if line in counts}
    return sum(counts[line] for line in shared)


def _bounds(count: int, val_frac: float, test_frac: float) -> tuple[int, int]:
    """Return the ends of the train and val splits of `count` symbols or lines."""
    val_end = int(count * (1 - test_frac)) if test_frac else count
    return int(count * (1 - val_frac - test_frac)), val_end


def end_with_newline(text: Text) -> Text:
    """Return the text with a final newline, which is added if it is missing."""
    if isinstance(text, bytes):
        return text if text.endswith(b"\n") else text + b"\n"
    return text if text.endswith("\n") else text + "\n"
