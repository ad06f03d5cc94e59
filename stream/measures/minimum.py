"""The smallest value."""

from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Reduce


class Min:
    """The least value seen. Exact."""

    name = "min"
    needs_value = True
    columns = (COUNT, Column("min", Reduce.MIN))

    def value(self, columns: list[Floats]) -> Floats:
        return columns[1]
