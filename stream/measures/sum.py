"""The total of a value."""

from collections.abc import Sequence
from typing import Any

from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Exact, Reduce, Takes


class Sum(Exact):
    """Σ value. Exact for whole numbers while every partial total stays below 2^53; floats to rounding."""

    name = "sum"
    takes = Takes.NUMBER
    columns = (COUNT, Column("sum", Reduce.ADD))

    def value(self, columns: list[Floats], sketches: Sequence[Any], seconds: Floats) -> Floats:
        return columns[1]
