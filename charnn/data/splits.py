"""Cut a text into training, validation and test splits, by length or by lines."""

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
    newline: Any = "\n" if isinstance(text, str) else b"\n"
    lines: list[Any] = text.removesuffix(newline).split(
        newline
    )  # splitlines() also splits at U+2028 etc.
    order = np.random.default_rng(seed).permutation(len(lines))
    train_end, val_end = _bounds(len(lines), val_frac, test_frac)
    chosen = {"train": order[:train_end], "val": order[train_end:val_end], "test": order[val_end:]}
    return {
        name: newline.join([lines[i] for i in part]) + newline
        for name, part in chosen.items()
        if len(part)
    }


def _bounds(count: int, val_frac: float, test_frac: float) -> tuple[int, int]:
    """Return the ends of the train and val splits of `count` symbols or lines."""
    val_end = int(count * (1 - test_frac)) if test_frac else count
    return int(count * (1 - val_frac - test_frac)), val_end


def end_with_newline(text: Text) -> Text:
    """Return the text with a final newline, which is added if it is missing."""
    if isinstance(text, bytes):
        return text if text.endswith(b"\n") else text + b"\n"
    return text if text.endswith("\n") else text + "\n"
