"""Who is to be looked at when: by whole seconds of event time."""

from __future__ import annotations

import heapq

import numpy as np

from stream.arrays import Ints
from stream.durations import SECOND_MS
from stream.people.base import FAR_MS


class Wheel:
    """Slots by the second in which they are due. *Cost*: of putting in, and of the seconds that pass with any."""

    def __init__(self) -> None:
        self._by_second: dict[int, list[Ints]] = {}
        self._seconds: list[int] = []

    def put(self, slots: Ints, due_ms: Ints) -> None:
        """Slots (n), each due at its time."""
        if not len(slots):
            return
        seconds = due_ms // SECOND_MS
        order = np.argsort(seconds, kind="stable")
        different, first = np.unique(seconds[order], return_index=True)
        for second, part in zip(different.tolist(), np.split(slots[order], first[1:]), strict=True):
            known = self._by_second.get(second)
            if known is None:
                self._by_second[second] = [part]
                heapq.heappush(self._seconds, second)
            else:
                known.append(part)

    def take(self, time_ms: int) -> Ints:
        """All that were put in for this second or before; some may be due a little later in it."""
        found: list[Ints] = []
        while self._seconds and self._seconds[0] <= time_ms // SECOND_MS:
            found.extend(self._by_second.pop(heapq.heappop(self._seconds)))
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    @property
    def next_ms(self) -> int:
        """When the next second begins for which any were put in; far ahead without one."""
        return self._seconds[0] * SECOND_MS if self._seconds else FAR_MS
