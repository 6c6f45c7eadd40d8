"""Names for the types of NumPy arrays; shapes are stated where an array is used."""

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]  # token ids, of any width
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
