"""A seeded simulator of a food-sharing community: what its platform would send, for any span of time."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from streamgauge.demo.incidents import LIVE, Incident, Occurrence, occurrences
from streamgauge.demo.population import COMMUNITIES, PLATFORMS, Population
from streamgauge.demo.rhythm import Rhythm
from streamgauge.demo.rows import (
    API_CALL,
    CATEGORIES,
    CLAIM,
    ENDPOINTS,
    EVENTS,
    MESSAGE,
    NOTHING,
    PAGE_VIEW,
    PAGES,
    PICKUP,
    POST,
    RATING,
    ROW,
    Rows,
    join,
)
from streamgauge.demo.visits import HORIZON_MS, Visits

Event = dict[str, str | int | float]

# Slots are the unit of randomness. Each divides the five minutes for which a crowd stays the same.
SLOTS_S = (1, 2, 3, 5, 6, 10, 15, 20, 30, 60, 100, 150, 300)
EVENTS_PER_SLOT = 1000


class FoodSharing:
    """Posts, claims, pickups, messages, ratings, page views and API calls of a few thousand people.

    `events_per_s` is the mean over a week without incidents; the rate of the moment follows the hours and
    weekdays of `timezone`. Pure: no I/O, no clock. What it keeps between calls only saves work.

    *Guarantee*: the same arguments give the same events, however a span is cut into calls (for one NumPy
    version). Ids are unique, and the same after a restart, so an event that is sent twice is recognised.
    Incidents change nothing outside their time but what follows from a lost claim or a failed call.

    *Failure*: `ValueError` for an argument or span that makes no sense, `ZoneInfoNotFoundError` for the zone.

    *Cost*: a call for a time before the last one, or long after, first makes `HORIZON_MS` of the past, to
    know who is still on a visit; memory is about 100 bytes for each event that visits have yet to bring.
    """

    def __init__(
        self,
        seed: int,
        events_per_s: float,
        timezone: str = "UTC",
        incidents: Iterable[Incident] = LIVE,
        people: int = 4000,
    ) -> None:
        if not 0 < events_per_s <= 200_000:
            raise ValueError(f"events_per_s must be above 0 and at most 200,000, got {events_per_s}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.events_per_s = events_per_s
        self.incidents = tuple(incidents)
        for incident in self.incidents:
            if incident.community not in (None, *COMMUNITIES):
                expected = f"expected a community out of {', '.join(COMMUNITIES)}"
                raise ValueError(f"incident {incident.name!r}: {expected}, got {incident.community!r}")
        slot_s = max(it for it in SLOTS_S if it == 1 or it * events_per_s <= EVENTS_PER_SLOT)
        self._slot_ms = slot_s * 1000
        rhythm = Rhythm(timezone)
        population = Population(seed, people, rhythm)
        self._visits = Visits(seed, events_per_s, self._slot_ms, rhythm, population, self.incidents)
        world = f"{seed}/{events_per_s}/{timezone}/{people}"
        self._id_prefix = f"{zlib.crc32(world.encode()):08x}"
        # Rows of visits begun in slots up to _made, by the slot in which they happen.
        self._pending: dict[int, list[Rows]] = {}
        self._made = -1
        self._slot = -1
        self._rows = np.zeros(0, ROW)

    def events_between(self, start_ms: int, end_ms: int) -> list[Event]:
        """The events with `start_ms` ≤ time < `end_ms` (epoch), in order of time."""
        events: list[Event] = []
        for rows in self._slots_between(start_ms, end_ms):
            events += self._events(rows)
        return events

    def rows_between(self, start_ms: int, end_ms: int) -> Rows:
        """The same events as rows of numbers, for who has weeks of them to look at; see `streamgauge.demo.rows`."""
        return join([rows.copy() for rows in self._slots_between(start_ms, end_ms)])

    def incidents_between(self, start_ms: int, end_ms: int) -> list[Occurrence]:
        """The incidents under way at some time in `start_ms` ≤ t < `end_ms` (epoch), by when they start."""
        return occurrences(self.incidents, start_ms, end_ms)

    def _slots_between(self, start_ms: int, end_ms: int) -> Iterator[Rows]:
        if not 0 <= start_ms <= end_ms:
            raise ValueError(f"a span must have 0 ≤ start_ms ≤ end_ms, got {start_ms} and {end_ms}")
        for slot in range(start_ms // self._slot_ms, -(-end_ms // self._slot_ms)):
            rows = self._in_slot(slot)
            first, last = np.searchsorted(rows["time"], (start_ms, end_ms))
            yield rows[first:last]

    def _in_slot(self, slot: int) -> Rows:
        """All that happens in a slot, in order of time; ties in the order of their visits' slots."""
        if slot == self._slot:
            return self._rows
        first = max(slot - -(-HORIZON_MS // self._slot_ms), 0)
        if slot < self._slot or first > self._made + 1:
            self._pending.clear()
            self._made = first - 1
        for passed in [it for it in self._pending if it < slot]:
            del self._pending[passed]
        while self._made < slot:
            self._made += 1
            self._make(self._made, slot)
        rows = join(self._pending.pop(slot, []))
        self._slot, self._rows = slot, rows.take(np.argsort(rows["time"], kind="stable"))
        return self._rows

    def _make(self, begun: int, needed: int) -> None:
        """Put what visits begun in one slot lead to where it happens; leave out slots before `needed`."""
        rows = self._visits.begun_in(begun)
        slots = rows["time"] // self._slot_ms
        first = int(np.searchsorted(slots, needed))
        cuts = [first, *(first + 1 + np.flatnonzero(np.diff(slots[first:]))).tolist(), len(rows)]
        for start, end in pairwise(cuts):
            if end > start:
                # A view would keep all rows of the slot in memory, for as long as its longest visit lasts.
                self._pending.setdefault(int(slots[start]), []).append(rows[start:end].copy())

    def _events(self, rows: Rows) -> list[Event]:
        instants = rows["time"].astype("datetime64[ms]")
        times = np.datetime_as_string(instants, unit="ms", timezone="UTC").tolist()
        prefix = self._id_prefix
        events: list[Event] = []
        for time, row in zip(times, rows.tolist(), strict=True):
            (_, serial, person, session, post, kind, community, platform, category, page, endpoint, rating,
             portions, status, grams, duration_us) = row  # fmt: skip
            event: Event = {"id": f"{prefix}{serial:014x}", "time": time, "event": EVENTS[kind]}
            if person:
                event["user_id"] = f"u{person:016x}"
            if session:
                event["session_id"] = f"s{session:016x}"
            if platform != NOTHING:
                event["platform"] = PLATFORMS[platform]
                event["community"] = COMMUNITIES[community]
            if kind == API_CALL:
                event["endpoint"] = ENDPOINTS[endpoint]
                event["status"] = status
                event["duration_ms"] = duration_us / 1000
            elif kind == PAGE_VIEW:
                event["page"] = PAGES[page]
            elif kind == RATING:
                event["post_id"] = f"p{post:016x}"
                event["category"] = CATEGORIES[category]
                event["rating"] = rating
            elif kind in (POST, CLAIM, PICKUP):
                event["post_id"] = f"p{post:016x}"
                event["category"] = CATEGORIES[category]
                event["portions"] = portions
                event["weight_kg"] = grams / 1000
            elif kind == MESSAGE and post:
                event["post_id"] = f"p{post:016x}"
            events.append(event)
        return events
