"""The units of one kind and the analyses of them: runs in order, and runs again what something late has changed."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from stream.arrays import Ints, Mask
from stream.digests import Hashes
from stream.durations import DAY_MS
from stream.people.base import CAPPED, FAR_MS, FLAGGED, LONG_AGO_MS, Analysis, Column, Facts, Run, State, UnitKey
from stream.people.events import SELF, TIME, Columns, Layout, in_order, joined, taken
from stream.people.records import Records
from stream.people.segments import is_first, is_last, rank
from stream.people.tail import Tail
from stream.people.wheel import Wheel
from stream.rows import BLANK, RowTable
from stream.snapshots import StateError

logger = logging.getLogger(__name__)

SLOT = "slot"
"""Column of events that wait: the slot of their unit."""
MOST_HELD = 30_000_000
"""Events that a shard holds for those that may come late, at the most."""
_MOST_AT_ONCE = 65_536
"""So many units are run at once at the most: what that takes in memory is bounded, however many there are."""
_DUE, _DAY, _TODAY, _FLAGGED = "due", "day", "today", "flagged"
_OWN = (
    Column(_DUE, np.int64, FAR_MS),
    Column(_DAY, np.int32, -1),
    Column(_TODAY, np.int32, 0),
    Column(_FLAGGED, np.bool_, False),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """An analysis in its space."""

    prefix: str
    analysis: Analysis


class Space:
    """Units, what is known of each, and their recent past."""

    def __init__(
        self,
        keys: Sequence[UnitKey],
        layout: Layout,
        analyses: Sequence[Placed],
        lateness_ms: int,
        most_a_day: int,
        most_held: int = MOST_HELD,
    ) -> None:
        """`most_a_day`: of a unit's events of one day (UTC) so many count, in their order."""
        self.keys = keys
        self._named = [place for place, key in enumerate(keys) if key.named]
        self.layout = layout
        self._analyses = analyses
        self._most_a_day = most_a_day
        self._most_held = most_held
        columns = [*_OWN, *(Column(f"key{place}", np.int32, 0) for place in self._named)]
        columns += [
            Column(f"{placed.prefix}.{one.name}", one.dtype, one.fill, one.width)
            for placed in analyses
            for one in placed.analysis.columns
        ]
        self.records = Records(columns)
        self.units = RowTable()
        """Keyed by the hash of each unit; rows are never freed."""
        self._place = self.units.column(self.records.dtype, BLANK)
        self._persons = [self.units.column(np.uint64, 0), self.units.column(np.uint64, 0)]
        self.changed = self.units.column(np.bool_, False)
        """Units that changed since they were last written down."""
        self._wheel = Wheel()
        self.tail = Tail(lateness_ms, layout.dtypes, self.records)
        self._waiting: list[Columns] = []
        self._done_ms = LONG_AGO_MS
        """Up to here everything was said, itself included."""

    def __len__(self) -> int:
        return len(self.units)

    @property
    def done_ms(self) -> int:
        return self._done_ms

    def take(self, events: Columns, unit: Hashes, persons: pl.Series, keys: Mapping[int, Ints]) -> None:
        """Take events (n) in, with the hashes of their units (n), who did it (n: pseudonyms) and, by their places, the
        numbers of the texts of named keys (n each)."""
        if len(unit):
            self._waiting.append({**events, SLOT: self._slots(unit, persons, keys)})

    def advance(self, done_ms: int, ended_ms: int = FAR_MS) -> list[tuple[int, Ints, Facts]]:
        """All events up to `done_ms`, itself included, are known, but for late ones; the last of all was at `ended_ms`.

        Returns what follows: (1 or -1, the slots of the units, facts about them).
        """
        said: list[tuple[int, Ints, Facts]] = []
        events, slots = self._ready(done_ms)
        late = events[TIME] <= self._done_ms
        if late.any():
            said.extend(self._again(slots[late], taken(events, late)))
            events, slots = taken(events, ~late), slots[~late]
        due = self._due(done_ms)
        order = in_order(events, slots)
        events, slots = taken(events, order), slots[order]
        units = slots[is_first(slots)]
        if len(due):
            units = np.union1d(units, due)
        # Time may have something to say of everybody at once, as at the end of a day.
        for part in np.split(units, range(_MOST_AT_ONCE, len(units), _MOST_AT_ONCE)):
            if len(part):
                first, after = np.searchsorted(slots, [part[0], part[-1] + 1])
                of_part = taken(events, slice(first, after))
                said.append((1, part, self._forward(part, slots[first:after], of_part, done_ms, ended_ms)))
        self._done_ms = max(self._done_ms, done_ms)
        self.tail.turn(self._done_ms + 1)
        if self.tail.shrink(self._most_held):
            logger.warning(
                "people: more than %d events may still be changed by late ones; the oldest no longer can be",
                self._most_held,
            )
        return said

    def _forward(self, units: Ints, slots: Ints, events: Columns, done_ms: int, ended_ms: int) -> Facts:
        """Run events (n, in order) of units (m, rising) that come after all that these had."""
        records = self.records.take(self.units.get(self._place), units)
        state = self.records.read(records)
        # At the end of all input nothing can come late.
        goes_on = done_ms < FAR_MS - 1
        if goes_on:
            self.tail.now.remember(units, records)
        facts, kept = self._run(state, units, slots, events, done_ms, ended_ms)
        self._put(units, state, done_ms)
        if goes_on:
            self.tail.now.keep(slots[kept], taken(events, kept))
        return facts

    def person_of(self, slots: Ints) -> tuple[Hashes, Hashes]:
        """The two halves of each unit's (n) pseudonym."""
        high, low = (self.units.get(place)[slots] for place in self._persons)
        return high, low

    def forget(self, person: str) -> None:
        """Make the units of a person, by pseudonym, those of nobody.

        Their rows stay, with what a unit has of which nothing was ever seen, and a key that no event has.
        """
        high, low = _halves(pl.Series([person]))
        highs, lows = (self.units.get(place)[: len(self.units)] for place in self._persons)
        slots = np.flatnonzero((highs == high) & (lows == low))
        if not len(slots):
            return
        waiting = [taken(part, ~np.isin(part[SLOT], slots)) for part in self._waiting]
        self._waiting = [part for part in waiting if len(part[TIME])]
        for generation in self.tail.generations:
            generation.forget(slots)
        self.units.get(self._place)[slots] = self.records.fill
        for place in self._persons:
            self.units.get(place)[slots] = _at_random(len(slots)).view(np.uint64)
        self.units.get(self.changed)[slots] = True
        keys = _at_random(len(slots))
        while len(np.unique(keys)) < len(keys) or (self.units.look_up(keys) >= 0).any():
            keys = _at_random(len(slots))
        self.units.rekey(slots, keys)

    def _ready(self, done_ms: int) -> tuple[Columns, Ints]:
        """The events whose time has come, and their units."""
        ready: list[Columns] = []
        waiting: list[Columns] = []
        for part in self._waiting:
            some = part[TIME] <= done_ms
            if some.all():
                ready.append(part)
            elif some.any():
                count = np.count_nonzero(some)
                # In order of time, as most files are, a part is cut in two without a copy of what goes on to wait.
                ordered = some[:count].all()
                ready.append(taken(part, slice(0, count) if ordered else some))
                waiting.append(taken(part, slice(count, None) if ordered else ~some))
            else:
                waiting.append(part)
        # Each part that waits is looked at again: many small ones are put together.
        self._waiting = [_by_time(joined(waiting))] if len(waiting) > 8 else waiting
        if not ready:
            empty = {name: np.empty(0, dtype=dtype) for name, dtype in self.layout.dtypes.items()}
            return empty, np.empty(0, dtype=np.int64)
        events = joined(ready)
        slots = events.pop(SLOT)
        return events, slots

    def _slots(self, unit: Hashes, persons: pl.Series, keys: Mapping[int, Ints]) -> Ints:
        """The slot of each event's (n) unit; those of units that are new are made."""
        hashes = unit.view(np.int64)
        slots = self.units.look_up(hashes)
        new = np.flatnonzero(slots < 0)
        if len(new):
            different, first = np.unique(hashes[new], return_index=True)
            rows = self.units.find(different)
            example = new[first]
            self.units.get(self._place)[rows] = self.records.fill
            for place, half in zip(self._persons, _halves(persons.gather(example)), strict=True):
                self.units.get(place)[rows] = half
            for number in self._named:
                self.units.get(self._place)[f"key{number}"][rows] = keys[number][example]
            self.units.get(self.changed)[rows] = True
            slots[new] = self.units.look_up(hashes[new])
        return slots

    def _due(self, done_ms: int) -> Ints:
        """Units for which time alone has something to say."""
        candidates = self._wheel.take(done_ms)
        if not len(candidates):
            return candidates
        due_ms = self.units.get(self._place)[_DUE][candidates]
        waiting = (due_ms > done_ms) & (due_ms < FAR_MS)
        self._wheel.put(candidates[waiting], due_ms[waiting])
        return np.unique(candidates[due_ms <= done_ms])

    def _state(self, units: Ints) -> State:
        return self.records.read(self.records.take(self.units.get(self._place), units))

    def _put(self, units: Ints, state: State, done_ms: int) -> None:
        armed_ms = self.units.get(self._place)[_DUE][units]
        self.records.write(self.units.get(self._place), units, state)
        self.units.get(self.changed)[units] = True
        # A unit that is in the wheel already is found there when its former time comes.
        due_ms = state[_DUE]
        arm = (due_ms < FAR_MS) & ((armed_ms == FAR_MS) | (due_ms < armed_ms) | (armed_ms <= done_ms))
        self._wheel.put(units[arm], due_ms[arm])

    def _run(
        self, state: State, units: Ints, slots: Ints, events: Columns, until_ms: int, ended_ms: int = FAR_MS
    ) -> tuple[Facts, Mask]:
        """Run every analysis over events (n, in order) of units (m, rising); returns which events count."""
        facts = Facts()
        owner = np.searchsorted(units, slots)
        kept = self._within_limit(state, owner, events[TIME], facts)
        if not kept.all():
            owner, events = owner[kept], taken(events, kept)
        needs = self.layout.needs
        run = Run(
            until_ms=until_ms,
            owner=owner,
            first=np.searchsorted(owner, np.arange(len(units))),
            time_ms=events[TIME],
            identity=events[SELF],
            conditions=self.layout.conditions(events),
            values={text: events[f"value {text}"] for text in needs.values},
            texts={text: events[f"text {text}"].astype(np.int64) for text in needs.texts},
            hashes={text: events[f"hash {text}"] for text in needs.hashes},
            unit_hash=self.units.key[units].view(np.uint64),
            unit_texts=[state[f"key{place}"].astype(np.int64) for place in self._named],
            ended_ms=ended_ms,
        )
        due_ms = np.full(len(units), FAR_MS, dtype=np.int64)
        for placed in self._analyses:
            own = {one.name: state[f"{placed.prefix}.{one.name}"] for one in placed.analysis.columns}
            placed.analysis.run(own, run, facts)
            for one in placed.analysis.columns:
                state[f"{placed.prefix}.{one.name}"] = own[one.name]
            due = placed.analysis.due_ms(own)
            if due is not None:
                due_ms = np.minimum(due_ms, due)
        state[_DUE] = due_ms
        return facts, kept

    def _within_limit(self, state: State, owner: Ints, time_ms: Ints, facts: Facts) -> Mask:
        """Which events (n) are not too many of their unit for one day; the others are told of as such."""
        if not len(owner):
            return np.ones(0, dtype=np.bool_)
        day = time_ms // DAY_MS
        begins = is_first(owner) | is_first(day)
        part = np.cumsum(begins) - 1
        place = np.flatnonzero(begins)
        before = np.where(state[_DAY][owner[place]] == day[place], state[_TODAY][owner[place]], 0)
        number = rank(part) + before[part]
        kept: Mask = number < self._most_a_day
        last = np.flatnonzero(is_last(owner))
        state[_DAY][owner[last]] = day[last]
        state[_TODAY][owner[last]] = np.minimum(number[last] + 1, self._most_a_day)
        if not kept.all():
            over = np.flatnonzero(~kept)
            if not self.keys:
                facts.add(CAPPED, time_ms[over])
                new = over[~state[_FLAGGED][owner[over]] & is_first(owner[over])]
                facts.tell(FLAGGED, owner[new], np.zeros(len(new), dtype=np.uint64), time_ms[new])
            state[_FLAGGED][owner[over]] = True
        return kept

    def _again(self, late_slots: Ints, late: Columns) -> list[tuple[int, Ints, Facts]]:
        """Late events (k) of these units: take back what was said of these since, and say it with them."""
        place = self.tail.since(int(late[TIME].min()))
        if place < 0:
            held = late[TIME] >= self.tail.generations[0].begin_ms
            gone = int((~held).sum())
            logger.warning("people: %d late events of a past that is no longer held; no analysis counts them", gone)
            late_slots, late, place = late_slots[held], taken(late, held), 0
            if not len(late_slots):
                return []
        units = np.unique(late_slots)
        generations = self.tail.generations
        state = self._state(units)
        parts = [generation.events_of(units) for generation in generations[place:]]
        for generation in reversed(generations[place:]):
            rows = generation.has_image(units)
            there = np.flatnonzero(rows >= 0)
            for name, values in generation.image(rows[there]).items():
                state[name][there] = values
        slots = np.concatenate([slots for slots, _ in parts])
        events = joined([part for _, part in parts])
        order = in_order(events, slots)
        former = {name: values.copy() for name, values in state.items()}
        before, _ = self._run(former, units, slots[order], taken(events, order), self._done_ms)
        said = [(-1, units, before)]
        slots, events = np.concatenate([slots, late_slots]), joined([events, late])
        is_late = np.arange(len(slots)) >= len(order)
        for number in range(place, len(generations)):
            begin_ms, end_ms = generations[number].begin_ms, self.tail.end_ms(number)
            mine = np.flatnonzero((events[TIME] >= begin_ms) & (events[TIME] < end_ms))
            part, own = taken(events, mine), slots[mine]
            order = in_order(part, own)
            generations[number].replace(units, state)
            until_ms = min(end_ms - 1, self._done_ms)
            facts, kept = self._run(state, units, own[order], taken(part, order), until_ms)
            said.append((1, units, facts))
            new = order[kept & is_late[mine][order]]
            generations[number].keep(own[new], taken(part, new))
        self._put(units, state, self._done_ms)
        return said

    def to_state(self, rows: Ints) -> dict[str, Any]:
        """The units in some rows (n), as plain data; they then count as written down."""
        self.units.get(self.changed)[rows] = False
        high, low = self.person_of(rows)
        return {
            "rows": rows.tobytes(),
            "key": self.units.key[rows].tobytes(),
            "high": high.tobytes(),
            "low": low.tobytes(),
            "records": self.units.get(self._place)[rows].tobytes(),
            "layout": self.records.describe(),
        }

    def held_back(self) -> Columns | None:
        """The events whose time has not come; None without any."""
        return joined(self._waiting) if self._waiting else None

    def go_on(self, done_ms: int, waiting: Columns | None) -> None:
        """Go on from what was taken over."""
        self._done_ms = done_ms
        if waiting is not None:
            self._waiting.append(waiting)
        due_ms = self.units.get(self._place)[_DUE][: len(self.units)]
        rows = np.flatnonzero(due_ms < FAR_MS)
        self._wheel.put(rows, due_ms[rows])

    def place(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Make all units that any of `states`, oldest first, has, each in its own row: a file has only some of them."""
        rows = np.concatenate([np.frombuffer(state["rows"], dtype=np.int64) for state in states])
        keys = np.empty(int(rows.max(initial=-1)) + 1, dtype=np.int64)
        known = np.zeros(len(keys), dtype=np.bool_)
        for state in states:
            mine = np.frombuffer(state["rows"], dtype=np.int64)
            keys[mine] = np.frombuffer(state["key"], dtype=np.int64)
            known[mine] = True
        if not known.all():
            raise StateError(f"expected all units of people in the files, found {int(known.sum())} of {len(known)}")
        if len(keys):
            self.units.find(keys)

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Take over what `to_state` gave; columns that were not there start empty."""
        rows = np.frombuffer(state["rows"], dtype=np.int64)
        for place, name in zip(self._persons, ("high", "low"), strict=True):
            self.units.get(place)[rows] = np.frombuffer(state[name], dtype=np.uint64)
        self.units.get(self._place)[rows] = self.records.adopt(state["records"], state["layout"])


def _by_time(events: Columns) -> Columns:
    """Events (n) in order of time."""
    return taken(events, np.argsort(events[TIME], kind="stable"))


def _halves(persons: pl.Series) -> tuple[Hashes, Hashes]:
    """Pseudonyms of 32 hex digits (n) as two numbers each."""
    raw = bytes.fromhex("".join(persons.to_list()))
    halves = np.frombuffer(raw, dtype=">u8").astype(np.uint64)
    return halves[::2], halves[1::2]


def _at_random(count: int) -> Ints:
    """Numbers (count) that nobody can know."""
    # Never the lowest one, which is even: to a table of rows it means that there is none.
    return np.frombuffer(secrets.token_bytes(8 * count), dtype=np.int64) | 1
