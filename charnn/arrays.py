"""Type aliases of NumPy arrays; shapes are documented where an array is used."""

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]  # token ids, of any width
Integers = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]
Transitions = npt.NDArray[np.int32]  # (S, V): the next state of an automaton, -1 if there is none
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
AnyArray = npt.NDArray[Any]
