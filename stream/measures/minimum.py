"""The smallest value."""

from collections.abc import Sequence
from typing import Any

from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Exact, Reduce, Takes


class Min(Exact):
    """The least value seen. Exact."""

    name = "min"
    takes = Takes.NUMBER
    columns = (COUNT, Column("min", Reduce.MIN))

    def value(self, columns: list[Floats], sketches: Sequence[Any], seconds: Floats) -> Floats:
        return columns[1]
