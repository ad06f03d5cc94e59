"""What the events of a run add to what is kept of each person, put together by person and day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream.arrays import Floats, Ints, Mask
from stream.durations import DAY_MS, MINUTE_MS, SECOND_MS
from stream.people.base import LONG_AGO_MS, Array, Run, State
from stream.people.inputs import Adds, Fading, Held, Holds
from stream.people.periods import FixedDays
from stream.people.segments import before, is_first, last_of, totals
from stream.people.vocabulary import Vocabulary

LATER_GAP = 0.7
"""What is left of a gap between visits in the mean of them with each that follows."""
_VISIT_GAP_MS = 30 * MINUTE_MS
"""Where the catalog has no `[sessions]`, a longer silence ends a visit."""
_SHORTEST_GAP_MS = SECOND_MS
"""Between two visits, as a gap of nothing has no logarithm."""


@dataclass(frozen=True, slots=True)
class DayParts:
    """Parts of a run (p), one for each person and day with an event, in their order."""

    owner: Ints
    """Which of the run's units each is of (p), rising."""
    day: Ints
    """(p), rising for each unit."""
    sums: Floats
    """What is added to each sum, as it is at the end of the day (p, sums)."""
    held: Floats
    """What takes the place of what is held, NaN where nothing does (p, held)."""
    events: Ints
    """How many qualify (p),"""
    first_ms: Ints
    """and the times of the first (p), far ahead where none does,"""
    last_ms: Ints
    """and the last (p), long ago where none does."""
    days: Ints
    """1 where they are the first of their day that qualify (p)."""
    gaps: Ints
    """How many gaps between visits ended (p),"""
    gap_sum: Floats
    """and what is left of the sum of their logarithms after the last of them,"""
    gap_weight: Floats
    """and of their number."""


@dataclass(frozen=True, slots=True)
class _Visits:
    """What is known of visits from events (n)."""

    begins: Mask
    log_gap: Floats
    """Logarithm of the days since the visit before; NaN where none begins that is not the first."""
    minutes: Floats
    """Since the event before of the same visit, or 0."""


class Divider:
    """Puts events together to parts of days."""

    def __init__(
        self,
        where: str | None,
        days: FixedDays,
        fading: Sequence[Fading],
        held: Sequence[Held],
        vocabulary: Vocabulary,
    ) -> None:
        """`where` says which events qualify."""
        self._where = where
        self._days = days
        self._adds = list(dict.fromkeys((one.adds, one.where, one.value) for one in fading))
        self._added = [self._adds.index((one.adds, one.where, one.value)) for one in fading]
        self._half_lives = sorted({one.half_life_days for one in fading})
        self._faded = [self._half_lives.index(one.half_life_days) for one in fading]
        self._held = held
        self._places = {one: np.array([vocabulary.code(text) for text in one.values]) for one in held}

    def divide(self, state: State, run: Run) -> DayParts:
        """The parts of a run, before which the units were in a state, of which the visits are brought up to date."""
        owner, time_ms = run.owner, run.time_ms
        count = len(owner)
        every = np.ones(count, dtype=np.bool_)
        qualifies = every if self._where is None else run.conditions[self._where]
        day = self._days.of(time_ms)
        begins = is_first(owner) | is_first(day)
        at = np.flatnonzero(begins)
        part = np.cumsum(begins) - 1
        new_day = self._new_days(state, owner, day, qualifies)
        visits = self._visits(state, run, qualifies)
        events = np.bincount(part[qualifies], minlength=len(at))
        first_ms = np.full(len(at), -LONG_AGO_MS)
        last_ms = np.full(len(at), LONG_AGO_MS)
        # Of several assignments to one place the last counts.
        first_ms[part[qualifies][::-1]] = time_ms[qualifies][::-1]
        last_ms[part[qualifies]] = time_ms[qualifies]
        gaps, gap_sum, gap_weight = _faded_by_number(visits.log_gap, part, len(at))
        return DayParts(
            owner=owner[at],
            day=day[at],
            sums=self._sums(run, day, at, qualifies, new_day, visits),
            held=self._holds(run, part, len(at)),
            events=events,
            first_ms=first_ms,
            last_ms=last_ms,
            days=np.bincount(part[new_day], minlength=len(at)),
            gaps=gaps,
            gap_sum=gap_sum,
            gap_weight=gap_weight,
        )

    def _new_days(self, state: State, owner: Ints, day: Ints, qualifies: Mask) -> Mask:
        """Which events (n) are the first of their day that qualify."""
        found = np.zeros(len(owner), dtype=np.bool_)
        rows = np.flatnonzero(qualifies)
        found[rows] = day[rows] != before(day[rows], owner[rows], self._days.of(state["last_ms"]))
        return found

    def _visits(self, state: State, run: Run, qualifies: Mask) -> _Visits:
        """Visits are the catalog's sessions; without those, events that qualify, with no long silence between."""
        count = len(run.owner)
        rows = np.arange(count) if run.session_begins is not None else np.flatnonzero(qualifies)
        owner, time_ms = run.owner[rows], run.time_ms[rows]
        former_ms = before(time_ms, owner, state["seen_ms"])
        begins = time_ms - former_ms > _VISIT_GAP_MS if run.session_begins is None else run.session_begins
        goes_on = ~begins & (former_ms != LONG_AGO_MS)
        minutes = np.zeros(count)
        minutes[rows[goes_on]] = (time_ms - former_ms)[goes_on] / MINUTE_MS
        first = np.zeros(count, dtype=np.bool_)
        first[rows] = begins
        visit_ms = before(time_ms[begins], owner[begins], state["visit_ms"])
        known = np.flatnonzero(visit_ms != LONG_AGO_MS)
        log_gap = np.full(count, np.nan)
        gap_ms = np.maximum(time_ms[begins][known] - visit_ms[known], _SHORTEST_GAP_MS)
        log_gap[rows[begins][known]] = np.log(gap_ms / DAY_MS)
        state["seen_ms"] = last_of(time_ms, np.ones(len(rows), dtype=np.bool_), owner, state["seen_ms"])
        state["visit_ms"] = last_of(time_ms, begins, owner, state["visit_ms"])
        return _Visits(first, log_gap, minutes)

    def _sums(self, run: Run, day: Ints, at: Ints, qualifies: Mask, new_day: Mask, visits: _Visits) -> Floats:
        if not len(at):
            return np.empty((0, len(self._added)))
        gap = ~np.isnan(visits.log_gap)
        always = {
            Adds.QUALIFYING: qualifies,
            Adds.DAY: new_day,
            Adds.VISIT: visits.begins,
            Adds.MINUTES: visits.minutes,
            Adds.GAP: gap,
            Adds.LOG_GAP: np.where(gap, visits.log_gap, 0.0),
        }
        added: list[Array] = []
        for adds, where, value in self._adds:
            if adds in always:
                added.append(always[adds])
            elif adds is Adds.MEETING:
                assert where is not None
                added.append(run.conditions[where])
            else:
                assert value is not None
                values = _given(run, where, run.values[value])
                known = ~np.isnan(values)
                added.append(known if adds is Adds.VALUED else np.where(known, values, 0.0))
        age = (self._days.end_ms(day) - run.time_ms) / DAY_MS
        left = [np.exp2(age / -half_life) for half_life in self._half_lives]
        found = np.empty((len(at), len(self._added)))
        for place, (one, half_life) in enumerate(zip(self._added, self._faded, strict=True)):
            found[:, place] = np.add.reduceat(added[one] * left[half_life], at)
        return found

    def _holds(self, run: Run, part: Ints, parts: int) -> Floats:
        found = np.full((parts, len(self._held)), np.nan)
        for place, one in enumerate(self._held):
            if one.value is None:
                assert one.where is not None
                rows = np.flatnonzero(run.conditions[one.where])
                values = run.time_ms.astype(np.float64)
            else:
                values = self._placed(run, one) if one.values else run.values[one.value]
                values = _given(run, one.where, values)
                rows = np.flatnonzero(~np.isnan(values))
            if one.holds is Holds.FIRST_TIME:
                rows = rows[::-1]
            found[part[rows], place] = values[rows]
        return found

    def _placed(self, run: Run, held: Held) -> Floats:
        """The place of each event's (n) text among those that are told apart, NaN where it has none."""
        assert held.value is not None
        codes = run.texts[held.value]
        places = np.full(len(codes), float(len(held.values)))
        for place, code in enumerate(self._places[held].tolist()):
            places[codes == code] = place
        places[codes == 0] = np.nan
        return places


def _given(run: Run, where: str | None, values: Floats) -> Floats:
    """Values (n), NaN of events that are not meant; what is endless is no value."""
    some = np.isfinite(values)
    if where is not None:
        some = some & run.conditions[where]
    return np.where(some, values, np.nan)


def _faded_by_number(log_gap: Floats, part: Ints, parts: int) -> tuple[Ints, Floats, Floats]:
    """Of each part (p): how many gaps it has, and the sums of them and of 1 for each, of which the later weigh more."""
    rows = np.flatnonzero(~np.isnan(log_gap))
    own = part[rows]
    # The last of its part is the first seen from behind.
    gaps = np.bincount(own, minlength=parts)
    later = np.cumsum(gaps)[own] - 1 - np.arange(len(rows))
    left = np.power(LATER_GAP, later, dtype=np.float64)
    return gaps, totals(left * log_gap[rows], own, parts), totals(left, own, parts)
