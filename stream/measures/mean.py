"""The average of a value."""

from collections.abc import Sequence
from typing import Any

from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Exact, Reduce, Takes


class Mean(Exact):
    """Σ value / count. As exact as `sum`."""

    name = "mean"
    takes = Takes.NUMBER
    columns = (COUNT, Column("sum", Reduce.ADD))

    def value(self, columns: list[Floats], sketches: Sequence[Any], seconds: Floats) -> Floats:
        return columns[1] / columns[0]
