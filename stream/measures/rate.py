"""How many a second."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Exact, Reduce, Takes


class Rate(Exact):
    """Events a second, or Σ value a second: the total by how long the window has lasted so far. As exact as `sum`.

    No value in a window that has not lasted yet.
    """

    name = "rate"
    takes = Takes.NUMBER_OR_NOTHING

    def __init__(self, has_value: bool) -> None:
        self.columns: tuple[Column, ...] = (COUNT, Column("sum", Reduce.ADD)) if has_value else (COUNT,)

    def value(self, columns: list[Floats], sketches: Sequence[Any], seconds: Floats) -> Floats:
        # The last column is the total of whatever is added up: the value, or 1 for each event.
        result = np.full(len(seconds), np.nan)
        np.divide(columns[-1], seconds, out=result, where=seconds > 0)
        return result
