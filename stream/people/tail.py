"""The recent past of some units, kept so that an event that comes late can still be put in its place.

Time is cut into *generations*. Each keeps its events and, of every unit that it changed, what that was when the
generation began. Nothing is folded or deleted one by one: what no late event can reach any more goes away as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stream.arrays import Ints, Mask
from stream.people.base import FAR_MS, LONG_AGO_MS, Array, State
from stream.people.events import Columns
from stream.people.records import Records
from stream.people.segments import is_first, is_last
from stream.rows import BLANK, RowTable, raw

_PARTS = 4
"""Generations that the allowed lateness has: more of them hold less beyond it, and more images."""
_FIRST = 16
_NONE = -1


class _Log:
    """Columns that grow at their end."""

    def __init__(self, dtypes: Mapping[str, np.dtype[Any]]) -> None:
        self._columns = {name: np.empty(_FIRST, dtype=dtype) for name, dtype in dtypes.items()}
        self.size = 0

    def append(self, columns: Columns, count: int) -> None:
        end = self.size + count
        capacity = len(next(iter(self._columns.values())))
        for name, array in self._columns.items():
            if end > capacity:
                grown = np.empty(max(end, capacity + capacity // 2, _FIRST), dtype=array.dtype)
                grown[: self.size] = array[: self.size]
                self._columns[name] = array = grown
            array[self.size : end] = columns[name]
        self.size = end

    def get(self, name: str) -> Array:
        return self._columns[name][: self.size]

    def keep_only(self, kept: Mask) -> None:
        """Let go of all rows but some (n)."""
        self._columns = {name: array[: self.size][kept] for name, array in self._columns.items()}
        self.size = int(np.count_nonzero(kept))

    def take(self, rows: Ints, names: Sequence[str]) -> Columns:
        return {name: self._columns[name][rows] for name in names}


class Generation:
    """Events from `begin_ms` on, and what the units they changed were before."""

    def __init__(
        self, begin_ms: int, dtypes: Mapping[str, np.dtype[Any]], records: Records, expected: int = _FIRST
    ) -> None:
        """`expected`: how many units it will change, about."""
        self.begin_ms = begin_ms
        self._records = records
        self._names = list(dtypes)
        self._events = _Log({**dtypes, "slot": np.dtype(np.int64), "previous": np.dtype(np.int32)})
        self.images = RowTable(expected)
        self._image = self.images.column(records.dtype, BLANK)
        self._latest = self.images.column(np.int32, _NONE)
        """Of each unit, its last event in the log; before each stands `previous`, of the same unit."""
        self._changed = self.images.column(np.bool_, False)
        """Images that were made since they were last written down."""
        self.written = 0
        """Events that are written down."""

    def __len__(self) -> int:
        return self._events.size

    def has_image(self, slots: Ints) -> Ints:
        """Row of each unit's (n) image, -1 where there is none."""
        return self.images.look_up(slots)

    def image(self, rows: Ints) -> State:
        """The images in some rows (k)."""
        return self._records.read(self._records.take(self.images.get(self._image), rows))

    def remember(self, slots: Ints, records: Array) -> None:
        """Keep the records (n) of units (n, distinct) of which none is kept."""
        new = np.flatnonzero(self.images.look_up(slots) < 0)
        if len(new):
            places = self.images.find(slots[new])
            records = raw(records)
            raw(self.images.get(self._image))[places] = records if len(new) == len(slots) else records[new]
            self.images.get(self._changed)[places] = True

    def replace(self, slots: Ints, state: State) -> None:
        """Keep what units (n, distinct) were, whatever was known of it."""
        places = self.images.find(slots)
        self._records.write(self.images.get(self._image), places, state)
        self.images.get(self._changed)[places] = True

    def keep(self, slots: Ints, events: Columns) -> None:
        """Keep events (n), grouped by unit, of units that have an image here."""
        if not len(slots):
            return
        first, last = np.flatnonzero(is_first(slots)), np.flatnonzero(is_last(slots))
        images = self.images.find(slots[first])
        rows = np.arange(self._events.size, self._events.size + len(slots), dtype=np.int32)
        previous = rows - np.int32(1)
        latest = self.images.get(self._latest)
        previous[first] = latest[images]
        latest[images] = rows[last]
        self._events.append({**events, "slot": slots, "previous": previous}, len(slots))

    def events_of(self, slots: Ints) -> tuple[Ints, Columns]:
        """All events here of some units (n, distinct): which unit each is of, and they themselves, in no order."""
        images = self.images.look_up(slots)
        row = np.full(len(slots), _NONE, dtype=np.int64)
        row[images >= 0] = self.images.get(self._latest)[images[images >= 0]]
        found: list[Ints] = []
        previous = self._events.get("previous")
        while (some := row >= 0).any():
            row = row[some]
            found.append(row)
            row = previous[row].astype(np.int64)
        rows = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
        return self._events.get("slot")[rows], self._events.take(rows, self._names)

    def forget(self, slots: Ints) -> None:
        """Let go of all events of some units (n, distinct), and of what they were."""
        images = self.images.look_up(slots)
        images = images[images >= 0]
        if not len(images):
            return
        kept = ~np.isin(self._events.get("slot"), slots)
        place = np.cumsum(kept) - 1
        # Each event points to one of its own unit: of those that stay, all do.
        previous = self._events.get("previous")
        previous[:] = np.where(previous >= 0, place[previous], _NONE)
        latest = self.images.get(self._latest)
        latest[:] = np.where(latest >= 0, place[latest], _NONE)
        self.written = int(np.count_nonzero(kept[: self.written]))
        self._events.keep_only(kept)
        self.images.get(self._image)[images] = self._records.fill
        self.images.get(self._latest)[images] = _NONE
        self.images.get(self._changed)[images] = True

    def unwritten(self, *, everything: bool = False) -> dict[str, Any]:
        """What is here since it was last written down, or all of it, as plain data."""
        used = self.images.used()
        rows = np.flatnonzero(used if everything else self.images.get(self._changed) & used)
        self.images.get(self._changed)[rows] = False
        if everything:
            self.written = 0
        since, self.written = self.written, self._events.size
        events = {name: self._events.get(name)[since:].tobytes() for name in [*self._names, "slot"]}
        return {
            "begin_ms": self.begin_ms,
            "events": events,
            "slots": self.images.key[rows].tobytes(),
            "images": self.images.get(self._image)[rows].tobytes(),
        }

    def take_over(self, state: Mapping[str, Any], described: Sequence[Any], events: Columns) -> None:
        """Take over what `unwritten` gave, each in its turn; `events` are its events as they are kept now."""
        slots = np.frombuffer(state["slots"], dtype=np.int64)
        places = self.images.find(slots)
        self.images.get(self._image)[places] = self._records.adopt(state["images"], described)
        slot = np.frombuffer(state["events"]["slot"], dtype=np.int64)
        order = np.argsort(slot, kind="stable")
        self.keep(slot[order], {name: values[order] for name, values in events.items()})
        self.written = self._events.size


class Tail:
    """The generations, oldest first; the last has no end yet."""

    def __init__(self, lateness_ms: int, dtypes: Mapping[str, np.dtype[Any]], records: Records) -> None:
        self._lateness_ms = lateness_ms
        self._dtypes = dtypes
        self._records = records
        self.generations = [Generation(LONG_AGO_MS, dtypes, records)]

    @property
    def size(self) -> int:
        """Events that are held."""
        return sum(map(len, self.generations))

    @property
    def now(self) -> Generation:
        return self.generations[-1]

    def since(self, time_ms: int) -> int:
        """Place of the generation that a time falls into; -1: all that is known of that time has gone."""
        begins = [one.begin_ms for one in self.generations]
        return int(np.searchsorted(begins, time_ms, side="right")) - 1

    def end_ms(self, place: int) -> int:
        """Where a generation ends and the next begins; far ahead for the last."""
        return self.generations[place + 1].begin_ms if place + 1 < len(self.generations) else FAR_MS

    def turn(self, now_ms: int) -> None:
        """Begin a new generation when it is time, and let go of what no event can reach that is taken from now on."""
        if not LONG_AGO_MS < now_ms < FAR_MS:
            return
        first = self.now.begin_ms == LONG_AGO_MS
        if first or now_ms - self.now.begin_ms >= max(1, self._lateness_ms // _PARTS):
            self.generations.append(Generation(now_ms, self._dtypes, self._records, len(self.now.images)))
        while len(self.generations) > 1 and self.end_ms(0) <= now_ms - self._lateness_ms:
            self.generations.pop(0)

    def shrink(self, most: int) -> bool:
        """Let go of the oldest until at most so many events are held. Returns whether that was needed."""
        shrunk = False
        while self.size > most and len(self.generations) > 1:
            self.generations.pop(0)
            shrunk = True
        return shrunk

    def add(self, begin_ms: int) -> Generation:
        """The generation that begins then, for what is read back."""
        for one in self.generations:
            if one.begin_ms == begin_ms:
                return one
        self.generations.append(Generation(begin_ms, self._dtypes, self._records))
        self.generations.sort(key=lambda one: one.begin_ms)
        return self.add(begin_ms)
