"""The average of a value."""

from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Reduce


class Mean:
    """Σ value / count."""

    name = "mean"
    needs_value = True
    columns = (COUNT, Column("sum", Reduce.ADD))

    def value(self, columns: list[Floats]) -> Floats:
        return columns[1] / columns[0]
