"""The same four analyses as one would first write them: a loop over the events, and a dict of people.

It knows no windows, no late and no doubled events, no snapshots and no screens: it is what the analyses cost by
themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from stream.batches import ShardBatch

_GAP_MS = 1_800_000
_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_WINDOW_MS = 14 * _DAY_MS


@dataclass(slots=True)
class Person:
    last_ms: int = -1
    start_ms: int = 0
    views: int = 0
    entry: str | None = None
    page: str | None = None
    device: str | None = None
    day: int = -1
    days: int = 0
    cohort: int = -1
    weeks: int = 0
    entered: list[int | None] = field(default_factory=lambda: [None] * 4)
    reached: int = 0


def scan(batches: Iterable[ShardBatch]) -> Counter[object]:
    """What the analyses say of the events, once through."""
    people: dict[str, Person] = {}
    said: Counter[object] = Counter()
    for batch in batches:
        frame = batch.frame
        columns = (frame[name].to_list() for name in ("user", "page", "device", "event"))
        for who, page, device, event, time_ms in zip(*columns, batch.time_ms.tolist(), strict=True):
            person = people.get(who)
            if person is None:
                person = people[who] = Person()
            if time_ms - person.last_ms > _GAP_MS:
                if person.last_ms >= 0:
                    said["ended", person.views == 1, person.entry, person.page, person.device] += 1
                    said["length"] += person.last_ms - person.start_ms
                said["sessions"] += 1
                person.start_ms, person.views, person.entry, person.device = time_ms, 0, page, device
            person.last_ms = time_ms
            person.views += 1
            person.page = page
            day = time_ms // _DAY_MS
            if day != person.day:
                said["dau", day] += 1
                said["last active", person.day] -= 1
                said["last active", day] += 1
                person.days = (person.days << (day - person.day) | 1) & 0x3FFFFFFF if person.day >= 0 else 1
                person.day = day
            week = (time_ms + 3 * _DAY_MS) // _WEEK_MS
            if person.cohort < 0:
                person.cohort = week
                said["cohort", week] += 1
            bit = 1 << (week - person.cohort)
            if not person.weeks & bit:
                person.weeks |= bit
                said["returned", person.cohort, week] += 1
            step = (
                3 if event == "paid" else 2 if page == "cart" else 1 if page == "item" else 0 if page == "home" else -1
            )
            if step == 0:
                person.entered[0] = time_ms
            elif step > 0:
                entered = person.entered[step - 1]
                if entered is not None and time_ms - entered <= _WINDOW_MS:
                    person.entered[step] = entered
                else:
                    step = -1
            if step >= person.reached:
                person.reached = step + 1
                said["step", step] += 1
    return said
