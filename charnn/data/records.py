"""Records: lines that are separate texts, such as names. Each ends with its newline token."""

import numpy as np

from charnn.arrays import Ids

PART = 1 << 20  # tokens compared at once: bounds the memory for the comparison


def record_bounds(tokens: Ids, newline: int) -> Ids:
    """Return the bounds of the R records of a split, (R + 1,): record r ends at bound r + 1.

    A last record without a newline ends at the end of the split.
    """
    dtype = np.uint32 if len(tokens) <= np.iinfo(np.uint32).max else np.int64
    bounds = [np.zeros(1, dtype)]
    for start in range(0, len(tokens), PART):
        newlines = np.flatnonzero(tokens[start : start + PART] == newline)
        bounds.append((newlines + (start + 1)).astype(dtype))
    if len(tokens) and tokens[-1] != newline:
        bounds.append(np.array([len(tokens)], dtype))
    return np.concatenate(bounds)
