"""`[[retention]]`: of the people who began in a period, how many came back so many periods later.

A person begins with their first start event. Who begin in the same day, week or month of the platform's time zone are a
cohort, and every fact is put at the start of that period: so a window of the metrics here is a cohort, and its series
are the cells of the cohort's row. After PostHog and Amplitude.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import Field, model_validator

from stream.arrays import Ints, Mask
from stream.durations import DAY_MS, duration_ms
from stream.expressions import FieldType
from stream.people.base import LONG_AGO_MS, Array, Column, FactKind, Facts, Needs, Run, Setting, State, UnitKey
from stream.people.offsets import Cells, Each, Numbering, Seen, UpTo
from stream.people.periods import CalendarPeriods, Unit
from stream.people.segments import is_first
from stream.tables import Duration, Table

_HOUR_MS = 3_600_000
_LENGTH_MS: Mapping[Unit, int] = {"day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS}
"""Of a period that is counted from a person's own beginning."""
_LONGEST_MS: Mapping[Unit, int] = {
    "day": DAY_MS + _HOUR_MS,
    "week": 7 * DAY_MS + _HOUR_MS,
    "month": 31 * DAY_MS + _HOUR_MS,
}
"""Of a calendar's, in which clocks are set back."""
_BRACKETS = (0, 1, 4, 8)
_MOST_MOVED = 60
"""The largest offset up to which a person's revenue is kept apart by offset."""
_NOBODY = -(1 << 31)
"""The cohort of people who have not begun."""
_SEGMENTS = 1_000
_MOST_SERIES = 200_000


class RetentionTable(Table):
    """One `[[retention]]`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,54}$")]
    """What its metrics' names begin with."""
    title: str | None = None
    start: str | None = None
    """SQL condition on the event that a person begins with. Default: their first of any kind."""
    returns: str | None = Field(None, alias="return")
    """SQL condition on the events that show that a person came back. Default: any."""
    period: Unit = "day"
    """What cohorts and offsets are counted in."""
    mode: Literal["on", "on_or_after", "bracket"] = "on"
    """A return at offset N counts for N, for every offset up to N, or for the bracket that N is in."""
    brackets: list[int] | None = Field(None, min_length=1, max_length=401)
    """The first offset of each bracket. Default: those of 0, 1, 4 and 8 that are within `periods`."""
    rolling: bool = False
    """Offsets are whole 24 hours, times 7 or 30 for weeks and months, since the person's own start; cohorts are not."""
    periods: int = Field(12, ge=1, le=400)
    """The largest offset. What comes later does not count."""
    by: str | None = None
    """SQL value of the start event, whose text makes the segments within a cohort: country, campaign."""
    did: str | None = None
    """SQL condition: cohorts are split into those who had such an event soon after their start, and the others."""
    did_within: Duration | None = None
    """How soon: at most so long after the start. Default: 1, 7 or 30 days, as `period` is."""
    cohort_where: str | None = None
    """SQL condition on the start event, which splits cohorts into those of whom it holds and the others."""
    revenue: str | None = None
    """SQL number of an event, which is summed over all events of a person from the start on."""

    @model_validator(mode="after")
    def _check(self) -> RetentionTable:
        segments = [key for key in ("by", "did", "cohort_where") if getattr(self, key) is not None]
        if len(segments) > 1:
            raise ValueError(
                f"{segments[1]}: expected at most one of by, did and cohort_where, found also {segments[0]}"
            )
        if self.did_within is not None and self.did is None:
            raise ValueError(f"did_within: expected also `did`, which it is about, found {self.did_within!r}")
        if self.did is not None and self.revenue is not None and self.periods > _MOST_MOVED:
            why = f"at most {_MOST_MOVED} where `did` and `revenue` are both given, as each person's is kept by offset"
            raise ValueError(f"periods: expected {why}, found {self.periods}")
        if self.brackets is not None:
            self._check_brackets(self.brackets)
        return self

    def _check_brackets(self, brackets: list[int]) -> None:
        if self.mode != "bracket":
            raise ValueError(f"brackets: expected none, as mode {self.mode} has none, found {brackets!r}")
        if brackets[0] != 0 or brackets != sorted(set(brackets)):
            raise ValueError(f"brackets: expected offsets that begin with 0 and rise, found {brackets!r}")
        if brackets[-1] > self.periods:
            raise ValueError(f"brackets: expected offsets up to periods = {self.periods}, found {brackets!r}")

    @property
    def cells(self) -> Cells:
        """The offsets that are told apart."""
        if self.mode != "bracket":
            return Cells(self.periods)
        return Cells(self.periods, self.brackets or [first for first in _BRACKETS if first <= self.periods])

    @property
    def length_ms(self) -> int:
        """A period that is counted from a person's own beginning."""
        return _LENGTH_MS[self.period]

    @property
    def within_ms(self) -> int:
        """Until so long after the start a person may move to those who did."""
        return self.length_ms if self.did_within is None else duration_ms(self.did_within)

    @property
    def segmented(self) -> bool:
        return self.by is not None or self.did is not None or self.cohort_where is not None

    def kind(self, what: str = "") -> str:
        """The name of the facts about people who came back, of `people` who began, or of their `revenue`."""
        return f"retention.{self.name}.{what}" if what else f"retention.{self.name}"

    def needs(self) -> Needs:
        conditions = (self.start, self.returns, self.did, self.cohort_where)
        return Needs(
            conditions=tuple(dict.fromkeys(text for text in conditions if text is not None)),
            values=() if self.revenue is None else (self.revenue,),
            texts=() if self.by is None else (self.by,),
        )

    def unit(self) -> Sequence[UnitKey]:
        return ()

    def kinds(self, zone: ZoneInfo) -> Sequence[FactKind]:
        """People, one row for each who began; returns, one for each of their cells; revenue, for each such event.

        A person who moves to those who did takes the revenue of an offset along in one row, others worth nothing: it
        can be summed and counted, but nothing else.
        """
        segment = {"segment": FieldType.STRING} if self.segmented else {}
        cell = {"offset": FieldType.STRING, **segment}
        found = [
            FactKind(self.kind("people"), segment, self.settles_ms),
            FactKind(self.kind(), cell, self.settles_ms),
        ]
        if self.revenue is not None:
            found.append(FactKind(self.kind("revenue"), {**cell, "value": FieldType.NUMBER}, self.settles_ms))
        return found

    @property
    def settles_ms(self) -> int:
        """How long after its period a cohort may still change. Whoever begins last in it has as long as the others."""
        periods = self.periods + (2 if self.rolling else 1)
        return max(periods * _LONGEST_MS[self.period], self.within_ms if self.did is not None else 0)

    def metrics(self) -> Iterable[Mapping[str, Any]]:
        title = self.title or self.name.replace("_", " ").capitalize()
        segment = ["segment"] if self.segmented else []
        segments = 1 if not segment else _SEGMENTS if self.by is not None else 2
        cells = {
            "by": ["offset", *segment],
            "windows": [self.period],
            "max_series": min(len(self.cells) * segments, _MOST_SERIES),
        }
        yield {
            "name": f"{self.name}_people",
            "title": f"{title}: people",
            "description": f"People who began in a {self.period}.",
            "measure": "count",
            "on": self.kind("people"),
            "by": segment,
            "windows": [self.period],
            "max_series": segments,
        }
        yield {
            "name": f"{self.name}_returned",
            "title": f"{title}: came back",
            "description": f"Of the people who began in a {self.period}, those who came back, by {self.period}s since.",
            "measure": "count",
            "on": self.kind(),
            **cells,
        }
        if self.revenue is not None:
            yield {
                "name": f"{self.name}_revenue",
                "title": f"{title}: revenue",
                "description": f"From the people who began in a {self.period}, by {self.period}s since.",
                "measure": "sum",
                "value": "value",
                "on": self.kind("revenue"),
                **cells,
            }

    def make(self, setting: Setting) -> Retention:
        return Retention(self, setting)


class Retention:
    """Who began when, and in which cells they were seen since.

    *Cost*: 12 bytes a person for up to 63 periods, and 1 to 4 for the segment; 8 more with `rolling` or `did`, and with
    `did` and `revenue` 8 for each cell.
    """

    def __init__(self, table: RetentionTable, setting: Setting) -> None:
        self._table = table
        self._vocabulary = setting.vocabulary
        self._numbering = Numbering(CalendarPeriods(table.period, setting.zone))
        self._cells = table.cells
        self._seen: Seen = UpTo() if table.mode == "on_or_after" else Each(len(self._cells))
        self._sides = ("did not", "did") if table.did is not None else ("no", "yes")
        """The segments where there are two, by what is kept of them."""
        # So that they have a place, however many other texts there will be.
        self._codes(self._cells.labels)
        if table.segmented:
            self._codes(self._sides)

    @property
    def columns(self) -> Sequence[Column]:
        table = self._table
        found = [Column("cohort", np.int32, _NOBODY), self._seen.column]
        if table.rolling or table.did is not None:
            found.append(Column("start_ms", np.int64, LONG_AGO_MS))
        if table.segmented:
            found.append(Column("segment", np.int32 if table.by is not None else np.int8, 0))
        if table.did is not None and table.revenue is not None:
            found.append(Column("revenue", np.float64, 0.0, len(self._cells)))
            found.append(Column("payments", np.int32, 0, len(self._cells)))
        return found

    def due_ms(self, state: State) -> Ints | None:
        return None

    def run(self, state: State, run: Run, facts: Facts) -> None:
        if not len(run.owner):
            return
        for column in self.columns:
            state[column.name] = np.ascontiguousarray(state[column.name])
        number = self._numbering.of(run.time_ms)
        known = state["cohort"] != _NOBODY
        starts = self._begin(state, run, number, known)
        begun = run.owner[starts]
        since = np.where(known, 0, len(run.owner))
        since[begun] = starts
        counted = np.arange(len(run.owner)) >= since[run.owner]
        if self._table.did is not None:
            # What a person who moves has from this run is put where they are at its end; what was said before, too.
            moved = self._moved(state, run, counted)
            self._take_along(state, np.flatnonzero(moved & known), facts)
            state["segment"][moved] = 1
        self._say(facts, "people", state, begun)
        cell = self._cells.of(self._offsets(state, run, number, counted))
        counted &= cell >= 0
        self._return(state, run, cell, counted, starts, facts)
        if self._table.revenue is not None:
            self._pay(state, run, cell, counted, facts)

    def _begin(self, state: State, run: Run, number: Ints, known: Mask) -> Ints:
        """Let people begin who have not yet: the rows (k) they do it with."""
        starting = ~known[run.owner]
        if self._table.start is not None:
            starting &= run.conditions[self._table.start]
        rows = np.flatnonzero(starting)
        rows = rows[is_first(run.owner[rows])]
        unit = run.owner[rows]
        state["cohort"][unit] = number[rows]
        if "start_ms" in state:
            state["start_ms"][unit] = run.time_ms[rows]
        if self._table.by is not None:
            state["segment"][unit] = run.texts[self._table.by][rows]
        elif self._table.cohort_where is not None:
            state["segment"][unit] = run.conditions[self._table.cohort_where][rows]
        return rows

    def _offsets(self, state: State, run: Run, number: Ints, counted: Mask) -> Ints:
        """How many periods after their person's start events (n) are; 0 where they are not counted."""
        if self._table.rolling:
            offset = (run.time_ms - state["start_ms"][run.owner]) // self._table.length_ms
        else:
            offset = number - state["cohort"][run.owner]
        offset[~counted] = 0
        return offset

    def _moved(self, state: State, run: Run, counted: Mask) -> Mask:
        """Who (m) is found here to be of those who did."""
        assert self._table.did is not None
        did = np.flatnonzero(run.conditions[self._table.did] & counted)
        unit = run.owner[did]
        soon = run.time_ms[did] - state["start_ms"][unit] <= self._table.within_ms
        moved = np.zeros(run.units, dtype=np.bool_)
        moved[unit[soon]] = True
        moved &= state["segment"] == 0
        return moved

    def _take_along(self, state: State, unit: Ints, facts: Facts) -> None:
        """Say what was said of units (k) of those who did not, of those who did."""
        place, cell = self._seen.all_of(state[self._seen.column.name], unit)
        seen = unit[place]
        for weight, segment in ((-1, 0), (1, 1)):
            self._say(facts, "people", state, unit, weight=weight, segment=segment)
            self._say(facts, "", state, seen, cell, weight=weight, segment=segment)
        if "revenue" in state:
            kept, payments = self._by_cell(state, "revenue"), self._by_cell(state, "payments")
            place, cell = np.nonzero(payments[unit])
            # One row has all the revenue, others that have none go with it: as many rows move as there were.
            value = kept[unit[place], cell]
            others = payments[unit[place], cell].astype(np.int64) - 1
            for weight, segment in ((-1, 0), (1, 1)):
                times = np.full(len(place), weight, dtype=np.int64)
                for worth, often in ((value, times), (np.zeros(len(place)), times * others)):
                    self._say(facts, "revenue", state, unit[place], cell, weight=often, segment=segment, value=worth)
            # They never move back.
            kept[unit] = 0.0
            payments[unit] = 0

    def _return(self, state: State, run: Run, cell: Ints, counted: Mask, starts: Ints, facts: Facts) -> None:
        here = counted if self._table.returns is None else counted & run.conditions[self._table.returns]
        # Everybody is in offset 0, whatever they begin with.
        here[starts] = True
        rows = np.flatnonzero(here)
        unit, cells = self._seen.add(state[self._seen.column.name], run.owner[rows], cell[rows])
        self._say(facts, "", state, unit, cells)

    def _pay(self, state: State, run: Run, cell: Ints, counted: Mask, facts: Facts) -> None:
        assert self._table.revenue is not None
        value = run.values[self._table.revenue]
        rows = np.flatnonzero(counted & np.isfinite(value))
        unit, cell, value = run.owner[rows], cell[rows], value[rows]
        self._say(facts, "revenue", state, unit, cell, value=value)
        if "revenue" in state:
            may_move = state["segment"][unit] == 0
            place = unit[may_move], cell[may_move]
            np.add.at(self._by_cell(state, "revenue"), place, value[may_move])
            np.add.at(self._by_cell(state, "payments"), place, 1)

    def _by_cell(self, state: State, name: str) -> Array:
        """What each person's (m) events brought in each cell, as (m, cells): also where there is but one bracket."""
        kept: Array = state[name].reshape(-1, len(self._cells))
        return kept

    def _say(
        self,
        facts: Facts,
        what: str,
        state: State,
        unit: Ints,
        cell: Ints | None = None,
        weight: int | Ints = 1,
        segment: int | None = None,
        **fields: Any,
    ) -> None:
        """Facts (k) about units, at the start of their cohorts' periods; default: of the segments they are in."""
        if not len(unit):
            return
        if cell is not None:
            fields["offset"] = self._codes(self._cells.labels)[cell]
        if self._table.by is not None:
            fields["segment"] = state["segment"][unit].astype(np.int64)
        elif self._table.segmented:
            side = state["segment"][unit] if segment is None else np.full(len(unit), segment)
            fields["segment"] = self._codes(self._sides)[side]
        time_ms = self._numbering.start_ms(state["cohort"][unit].astype(np.int64))
        often = np.full(len(unit), weight, dtype=np.int64) if isinstance(weight, int) else weight
        some = often != 0
        if not some.all():
            time_ms, often = time_ms[some], often[some]
            fields = {name: values[some] for name, values in fields.items()}
        facts.add(self._table.kind(what), time_ms, often, **fields)

    def _codes(self, labels: Sequence[str]) -> Ints:
        # Looked up each time: a vocabulary that was restored after this was made may have other numbers.
        return np.array([self._vocabulary.code(label) for label in labels], dtype=np.int64)
