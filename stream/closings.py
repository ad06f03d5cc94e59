"""Which emissions close windows that somebody looks at: a rule, or a forecast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from sinks.records import State
from stream.batches import Closed, Emission
from stream.clock import END_MS, NEVER_MS


class Grained(Protocol):
    """What looks at windows."""

    @property
    def grain_ms(self) -> int:
        """They end at multiples of it only."""
        ...


class Closings:
    """Hands on what closed in cubes that somebody looks at, once for each moment at which a window can end.

    Emissions come ten times a second; whoever keeps state with a snapshot is to be woken only when there is news. What
    a model gives is handed on as it comes.
    """

    def __init__(self, looks: Mapping[str, Sequence[Grained]]) -> None:
        self._grains_ms = {cube: math.gcd(*(one.grain_ms for one in some)) for cube, some in looks.items()}
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
        return [(cube, Closed(cube, final, emission.watermark_ms, emission.until_ms))]
