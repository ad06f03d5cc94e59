"""What is kept of each person for the model of churn, and the row of each person and day that follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stream.arrays import Floats, Ints, Mask
from stream.people.base import FAR_MS, LONG_AGO_MS, Array, Column, Facts, Run, Setting, State
from stream.people.day_parts import LATER_GAP, DayParts, Divider
from stream.people.inputs import Fading, Held, Holds, Known
from stream.people.periods import FixedDays

if TYPE_CHECKING:
    from stream.people.features import Churn

CHURN = "churn"
"""Kind of the lines that have a row each."""
_NO_DAY = -(1 << 40)
_FAR_DAY = 1 << 40


class PersonDayMaker:
    """Keeps sums that fade, scaled to the end of the day that is under way, and says a row at the end of each.

    An event adds what will be left of it at the end of its own day; from there on all of a person's sums fade alike, a
    day at a time. So what they come to does not depend on when they are looked at, but for the last bits. *Cost*: 8
    bytes a person for each number that is kept, 250 to 500 in all.
    """

    def __init__(self, declared: Churn, setting: Setting) -> None:
        self._active_ms = declared.active_ms
        self._min_events = declared.min_events
        self._days = FixedDays(setting.zone)
        self._inputs = declared.inputs()
        self._fading = list(dict.fromkeys(one for each in self._inputs for one in each.fading))
        self._held = list(dict.fromkeys(one for each in self._inputs for one in each.held))
        self._divider = Divider(declared.where, self._days, self._fading, self._held, setting.vocabulary)
        self._half_lives = np.array([one.half_life_days for one in self._fading])
        self._is_first = np.array([one.holds is Holds.FIRST_TIME for one in self._held], dtype=np.bool_)
        # Each by what it is, so that all others are kept where a feature comes or goes.
        self._sums = [_named(one) for one in self._fading]
        self._numbers = [_named(one) for one in self._held]
        self.columns: Sequence[Column] = (
            Column("day", np.int64, _NO_DAY),
            Column("first_ms", np.int64, LONG_AGO_MS),
            Column("last_ms", np.int64, LONG_AGO_MS),
            Column("events", np.int64, 0),
            Column("days", np.int64, 0),
            Column("visit_ms", np.int64, LONG_AGO_MS),
            Column("seen_ms", np.int64, LONG_AGO_MS),
            Column("gap_sum", np.float64, 0.0),
            Column("gap_weight", np.float64, 0.0),
            *(Column(name, np.float64, 0.0) for name in self._sums),
            *(Column(name, np.float64, np.nan) for name in self._numbers),
        )

    def due_ms(self, state: State) -> Ints:
        return np.where(self._looked_at(state), self._days.end_ms(state["day"]), FAR_MS)

    def run(self, state: State, run: Run, facts: Facts) -> None:
        last_day = self._days.passed(min(run.until_ms, run.ended_ms))
        due = self._looked_at(state) & (state["day"] <= last_day)
        mine = np.flatnonzero(due | (run.sizes > 0))
        if not len(mine):
            return
        parts = self._divider.divide(state, run)
        persons = _Persons(
            mine,
            {name: state[name][mine] for name in _SINGLE},
            _side_by_side([state[name][mine] for name in self._sums], len(mine)),
            _side_by_side([state[name][mine] for name in self._numbers], len(mine)),
        )
        following = np.searchsorted(parts.owner, mine)
        row_day = np.where(due[mine], persons.single["day"], _FAR_DAY)
        while True:
            part_day = _at(parts, following, mine)
            day = np.minimum(row_day, part_day)
            today = int(day.min())
            if today == _FAR_DAY:
                break
            who = np.flatnonzero(day == today)
            self._fade(persons, who, today)
            active = who[part_day[who] == today]
            self._add(persons, active, parts, following[active])
            following[active] += 1
            row_day[who] = _FAR_DAY
            if today <= last_day:
                self._tell(persons, who, today, facts)
                self._fade(persons, who, today + 1)
                if today < last_day:
                    row_day[who[self._looked_at({name: persons.single[name][who] for name in _SINGLE})]] = today + 1
        for name, values in persons.single.items():
            state[name][mine] = values
        for place, name in enumerate(self._sums):
            state[name][mine] = persons.sums[:, place]
        for place, name in enumerate(self._numbers):
            state[name][mine] = persons.held[:, place]

    def _looked_at(self, state: State) -> Mask:
        """Of which units (n) there is a row at the end of the day that is under way, unless more happens."""
        end_ms = self._days.end_ms(state["day"])
        return (state["events"] >= self._min_events) & (state["last_ms"] > end_ms - self._active_ms)

    def _fade(self, persons: _Persons, who: Ints, day: int) -> None:
        """Scale the sums of some persons (k) to the end of a day, which is under way from now on."""
        passed = day - persons.single["day"][who]
        persons.single["day"][who] = day
        if len(who) and passed.min() == passed.max():
            if passed[0]:
                persons.sums[who] *= np.exp2(-passed[0] / self._half_lives)
            return
        some = np.flatnonzero(passed)
        different, place = np.unique(passed[some], return_inverse=True)
        persons.sums[who[some]] *= np.exp2(-different[:, None] / self._half_lives)[place]

    def _add(self, persons: _Persons, who: Ints, parts: DayParts, rows: Ints) -> None:
        """Add a part of each (k) to some persons (k), whose sums are scaled to the end of its day."""
        single = persons.single
        persons.sums[who] += parts.sums[rows]
        if self._numbers:
            had, new = persons.held[who], parts.held[rows]
            persons.held[who] = np.where(np.isnan(new) | (self._is_first & ~np.isnan(had)), had, new)
        first_ms = single["first_ms"][who]
        is_new = (first_ms == LONG_AGO_MS) & (parts.events[rows] > 0)
        single["first_ms"][who] = np.where(is_new, parts.first_ms[rows], first_ms)
        single["last_ms"][who] = np.maximum(single["last_ms"][who], parts.last_ms[rows])
        single["events"][who] += parts.events[rows]
        single["days"][who] += parts.days[rows]
        left = LATER_GAP ** parts.gaps[rows]
        single["gap_sum"][who] = single["gap_sum"][who] * left + parts.gap_sum[rows]
        single["gap_weight"][who] = single["gap_weight"][who] * left + parts.gap_weight[rows]

    def _tell(self, persons: _Persons, who: Ints, day: int, facts: Facts) -> None:
        """Say the rows of those of some persons (k) who are looked at, at the end of a day."""
        single = {name: values[who] for name, values in persons.single.items()}
        some = self._looked_at(single)
        if not some.all():
            who, single = who[some], {name: values[some] for name, values in single.items()}
        if not len(who):
            return
        end_ms = int(self._days.end_ms(np.array([day]))[0])
        weight = single["gap_weight"]
        log_gap = np.divide(single["gap_sum"], weight, out=np.full(len(who), np.nan), where=weight > 0)
        # A column at a time from here on: each is to lie in one piece.
        sums, held = persons.sums[who].T.copy(), persons.held[who].T.copy()
        known = Known(
            end_ms=end_ms,
            first_ms=single["first_ms"],
            log_gap=log_gap,
            fading=dict(zip(self._fading, sums, strict=True)),
            held=dict(zip(self._held, held, strict=True)),
        )
        facts.tell(
            CHURN,
            persons.unit[who],
            np.full(len(who), day).astype(np.uint64),
            np.full(len(who), end_ms),
            None,
            **{name: single[name] for name in ("first_ms", "last_ms", "events", "days")},
            **{one.name: one.work_out(known) for one in self._inputs},
        )


_SINGLE = ("day", "first_ms", "last_ms", "events", "days", "gap_sum", "gap_weight")


@dataclass(frozen=True, slots=True)
class _Persons:
    """What is kept of the persons (k) of a run of whom there is something to say."""

    unit: Ints
    """Which of the run's units each is (k)."""
    single: dict[str, Array]
    """(k each)"""
    sums: Floats
    """(k, sums)"""
    held: Floats
    """(k, held)"""


def _side_by_side(columns: Sequence[Floats], count: int) -> Floats:
    """Columns (count each) as one array (count, columns)."""
    found = np.empty((count, len(columns)))
    for place, column in enumerate(columns):
        found[:, place] = column
    return found


def _at(parts: DayParts, following: Ints, unit: Ints) -> Ints:
    """The day of each unit's (k) next part, by its place; far ahead where there is none."""
    if not len(parts.owner):
        return np.full(len(unit), _FAR_DAY)
    place = np.minimum(following, len(parts.owner) - 1)
    return np.where((following < len(parts.owner)) & (parts.owner[place] == unit), parts.day[place], _FAR_DAY)


def _named(kept: Fading | Held) -> str:
    """A name for a column, that is the same for the same."""
    return hashlib.sha256(repr(kept).encode()).hexdigest()[:16]
