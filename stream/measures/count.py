"""How many events."""

from collections.abc import Sequence
from typing import Any

from stream.arrays import Floats
from stream.measures.base import COUNT, Exact, Takes


class Count(Exact):
    """Number of events. Exact up to 2^53."""

    name = "count"
    takes = Takes.NOTHING
    columns = (COUNT,)

    def value(self, columns: list[Floats], sketches: Sequence[Any], seconds: Floats) -> Floats:
        return columns[0]
