"""The largest value."""

from collections.abc import Sequence
from typing import Any

from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Exact, Reduce, Takes


class Max(Exact):
    """The greatest value seen. Exact."""

    name = "max"
    takes = Takes.NUMBER
    columns = (COUNT, Column("max", Reduce.MAX))

    def value(self, columns: list[Floats], sketches: Sequence[Any], seconds: Floats) -> Floats:
        return columns[1]
