"""The largest value."""

from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Reduce


class Max:
    """The greatest value seen. Exact."""

    name = "max"
    needs_value = True
    columns = (COUNT, Column("max", Reduce.MAX))

    def value(self, columns: list[Floats]) -> Floats:
        return columns[1]
