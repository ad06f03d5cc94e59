"""The value of the latest event."""

from collections.abc import Sequence

import numpy as np

from stream.arrays import Floats
from stream.measures.base import COUNT, Exact, Sketch, Takes
from stream.measures.by_time import ByTime, Moment


class Last(Exact):
    """The value of the latest event by (time, entry id, place in the entry), and the larger of two at the very same.

    Exact. 32 bytes a state.
    """

    name = "last"
    takes = Takes.NUMBER
    columns = (COUNT,)
    sketch: Sketch = ByTime(latest=True)

    def value(self, columns: list[Floats], sketches: Sequence[Moment], seconds: Floats) -> Floats:
        return np.array([value for *_, value in sketches], dtype=np.float64)
