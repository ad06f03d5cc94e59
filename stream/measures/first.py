"""The value of the earliest event."""

from collections.abc import Sequence

import numpy as np

from stream.arrays import Floats
from stream.measures.base import COUNT, Exact, Sketch, Takes
from stream.measures.by_time import ByTime, Moment


class First(Exact):
    """The value of the earliest event by (time, entry id, place in the entry), and the larger of two at the very same.

    Exact. 32 bytes a state.
    """

    name = "first"
    takes = Takes.NUMBER
    columns = (COUNT,)
    sketch: Sketch = ByTime(latest=False)

    def value(self, columns: list[Floats], sketches: Sequence[Moment], seconds: Floats) -> Floats:
        return np.array([value for *_, value in sketches], dtype=np.float64)
