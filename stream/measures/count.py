"""How many events."""

from stream.arrays import Floats
from stream.measures.base import COUNT


class Count:
    """Number of events. Exact up to 2^53."""

    name = "count"
    needs_value = False
    columns = (COUNT,)

    def value(self, columns: list[Floats]) -> Floats:
        return columns[0]
