"""The total of a value."""

from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Reduce


class Sum:
    """Σ value. Exact for whole numbers while every partial total stays below 2^53; floats to rounding."""

    name = "sum"
    needs_value = True
    columns = (COUNT, Column("sum", Reduce.ADD))

    def value(self, columns: list[Floats]) -> Floats:
        return columns[1]
