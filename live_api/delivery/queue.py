"""What one endpoint has still to be told, in order within each group. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

from sinks.alert_records import Notification


def order_of(entry: str) -> tuple[int, int]:
    """The order of entries of a stream: `1526919030474-55` → (1526919030474, 55)."""
    time_ms, _, number = entry.partition("-")
    return int(time_ms), int(number)


@dataclass(slots=True)
class Waiting:
    """A notification on its way to one endpoint."""

    entry: str
    """Its entry in the outbox."""
    notification: Notification
    first_ms: int
    """When it was first taken up, or later became the first of its group."""
    next_ms: int
    """When it may be tried."""
    attempts: int = 0
    """Made so far."""
    sent: int = 0
    """Of several requests, how many were taken."""
    original: str | None = None
    """The entry it was before it died and was put back by hand; None for most."""
    forced: bool = False
    """Whether it is sent though later ones of its group were."""
    flying: bool = False


class Queue:
    """Notifications by group; of each group only the first may be sent, and only one at a time.

    *Guarantee*: a notification is given out only after all earlier ones of its group are gone. A second one with an id
    that waits already is not taken in. *Cost*: O(log n) for each change.
    """

    def __init__(self) -> None:
        self._groups: dict[str, deque[Waiting]] = {}
        self._ids: set[str] = set()
        self._heap: list[tuple[int, tuple[int, int], str]] = []
        self._flying = 0

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def flying(self) -> int:
        """How many are being sent."""
        return self._flying

    @property
    def oldest_ms(self) -> int | None:
        """When the one that has waited longest was taken up."""
        return min((group[0].first_ms for group in self._groups.values()), default=None)

    def add(self, waiting: Waiting) -> bool:
        """In the order of entries. Returns False for one whose id waits already."""
        if waiting.notification.id in self._ids:
            return False
        self._ids.add(waiting.notification.id)
        group = self._groups.setdefault(waiting.notification.group, deque())
        group.append(waiting)
        if len(group) == 1:
            self._push(waiting)
        return True

    def take(self, now_ms: int, most: int) -> list[Waiting]:
        """Up to `most` that are due, those due longest first; they are under way from now on."""
        taken: list[Waiting] = []
        while self._heap and len(taken) < most and self._heap[0][0] <= now_ms:
            head = self._head(heapq.heappop(self._heap))
            if head is not None:
                head.flying = True
                self._flying += 1
                taken.append(head)
        return taken

    def postpone(self, waiting: Waiting, next_ms: int) -> None:
        """One that was under way is to be tried again."""
        waiting.flying = False
        self._flying -= 1
        waiting.next_ms = next_ms
        self._push(waiting)

    def remove(self, waiting: Waiting, now_ms: int) -> None:
        """One that was under way is done with, and the next of its group may follow. Its time begins only now."""
        self._flying -= 1
        self._ids.discard(waiting.notification.id)
        group = self._groups[waiting.notification.group]
        group.popleft()
        if group:
            group[0].first_ms = max(group[0].first_ms, now_ms)
            self._push(group[0])
        else:
            del self._groups[waiting.notification.group]

    def hasten(self, now_ms: int) -> list[Waiting]:
        """The endpoint is back: what waits for a later attempt is due now. Returns those it is true of."""
        hastened = []
        for group in self._groups.values():
            if not group[0].flying and group[0].next_ms > now_ms:
                group[0].next_ms = now_ms
                self._push(group[0])
                hastened.append(group[0])
        return hastened

    def shift(self, by_ms: int) -> None:
        """The clock was set by so much."""
        for group in self._groups.values():
            for waiting in group:
                waiting.first_ms += by_ms
                waiting.next_ms += by_ms
            if not group[0].flying:
                self._push(group[0])

    def next_ms(self) -> int | None:
        """When the next one is due; None when none waits."""
        while self._heap:
            if self._head(self._heap[0]) is not None:
                return self._heap[0][0]
            heapq.heappop(self._heap)
        return None

    def expired(self, before_ms: int) -> list[Waiting]:
        """First ones of their groups that were taken up before then and are not under way; they are from now on."""
        found = [group[0] for group in self._groups.values() if group[0].first_ms < before_ms and not group[0].flying]
        for waiting in found:
            waiting.flying = True
            self._flying += 1
        return found

    def _push(self, waiting: Waiting) -> None:
        heapq.heappush(self._heap, (waiting.next_ms, order_of(waiting.entry), waiting.notification.group))

    def _head(self, item: tuple[int, tuple[int, int], str]) -> Waiting | None:
        """What an item of the heap is about; None where that has changed since."""
        next_ms, order, group = item
        waiting = self._groups.get(group)
        if not waiting:
            return None
        head = waiting[0]
        if head.flying or head.next_ms != next_ms or order_of(head.entry) != order:
            return None
        return head
