"""Names for the arrays that pass between the steps. Shapes are in the docstrings, as (n)."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
