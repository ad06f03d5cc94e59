"""Which emissions of the merge close windows that a rule watches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sinks.records import State
from stream.batches import Closed, Emission
from stream.clock import END_MS, NEVER_MS
from stream.score import Watch


class Closings:
    """Hands on what closed in cubes that are watched, once for each moment at which a window can end.

    Emissions come ten times a second; whoever keeps state with a snapshot is to be woken only when there is news.
    """

    def __init__(self, watches: Mapping[str, Sequence[Watch]]) -> None:
        self._grains_ms = {cube: math.gcd(*(watch.grain_ms for watch in some)) for cube, some in watches.items()}
        self._told_ms: dict[str, int] = {}

    def due(self, cube: str, watermark_ms: int) -> bool:
        """Whether a window may have ended since the last that was handed on."""
        grain_ms = self._grains_ms.get(cube)
        if grain_ms is None or not watermark_ms > NEVER_MS:
            return False
        told_ms = self._told_ms.get(cube)
        return told_ms is None or watermark_ms >= END_MS or watermark_ms // grain_ms > told_ms // grain_ms

    def of(self, item: tuple[str, Emission]) -> list[tuple[str, Closed]]:
        """None or one."""
        cube, emission = item
        if not self.due(cube, emission.watermark_ms):
            return []
        self._told_ms[cube] = emission.watermark_ms
        final = [point for point in emission.durable if point.state is State.FINAL]
        return [(cube, Closed(cube, final, emission.watermark_ms))]
