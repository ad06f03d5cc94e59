"""What is published of how far each stream has been read: once a second, and about all that was read since."""

from __future__ import annotations

from dataclasses import replace

from stream.batches import Decoded, Status


class Statuses:
    """Hands on a batch's status, with the latest event of all batches since the one before.

    Few batches carry a status, and the one that does is often empty: an event that came between two of them would
    never be told of, and a wall that is opened later would take its number for an old one. *Not handled*: what is held
    when the process ends is not told.
    """

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}

    def of(self, batch: Decoded) -> list[Status]:
        """None or one."""
        untold = (self._latest.get(batch.stream), batch.max_event_ms)
        latest = max((at for at in untold if at is not None), default=None)
        if batch.status is None:
            if latest is not None:
                self._latest[batch.stream] = latest
            return []
        self._latest.pop(batch.stream, None)
        return [replace(batch.status, max_event_ms=latest)]
