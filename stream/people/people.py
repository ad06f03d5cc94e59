"""All analyses of people in one shard: events in, facts for metrics and lines for persons' records out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from stream.arrays import Ints
from stream.clock import END_MS, NEVER_MS
from stream.digests import Hashes, hashes_of
from stream.expressions import FieldType, compile_expression, evaluate
from stream.identity import IDENTITY
from stream.people.base import CAPPED, FAR_MS, FLAGGED, LONG_AGO_MS, Declaration, FactKind, Rows, Setting, UnitKey
from stream.people.events import Columns, Layout, taken
from stream.people.gauges import Gauge
from stream.people.periods import FixedDays
from stream.people.space import Placed, Space
from stream.people.told import Told
from stream.people.vocabulary import Vocabulary

_MIX = np.uint64(0x9E3779B97F4A7C15)
EVENT = "event"
"""Kind of the lines that tell of events themselves."""


@dataclass(frozen=True, slots=True)
class DaysPlan:
    """At the ends of which days there are rows of people, and how long after it a day is over for good."""

    days: FixedDays
    settle_ms: int

    def passed(self, done_ms: int) -> tuple[int, int]:
        """The last day that has ended, and the last that is over for good, where all before a moment is known."""
        return self.days.passed(done_ms - 1), self.days.passed(done_ms - 1 - self.settle_ms)


@dataclass(frozen=True, slots=True)
class PeoplePlan:
    """What the analyses of a catalog are, and how much is kept for them."""

    person: str
    """Field that has the person's pseudonym by now."""
    zone: ZoneInfo
    declared: Sequence[tuple[str, Declaration]]
    """Each with a name of its own, which ends with what it means, in the order in which they run."""
    lateness_ms: int
    most_a_day: int
    named: str | None = None
    """Field that says what kind of event it is,"""
    page: str | None = None
    """and SQL expression that gives its page: what is told of an event,"""
    keeps_events: bool = False
    """where each is."""
    days: DaysPlan | None = None
    """None where there are no rows of people."""

    @property
    def meanings(self) -> dict[str, str]:
        """What each kind of facts means, by its name: another text where that is something else."""
        return {kind.name: name.rpartition("#")[2] for name, one in self.declared for kind in one.kinds(self.zone)}

    @property
    def kinds(self) -> dict[str, FactKind]:
        """Every kind of facts, by name."""
        found = {kind.name: kind for _, one in self.declared for kind in one.kinds(self.zone)}
        return found | {CAPPED: FactKind(CAPPED, {}), FLAGGED: FactKind(FLAGGED, {})}


@dataclass(frozen=True, slots=True)
class FactBatch:
    """Facts of one kind (n): columns of its fields, when each counts and how often."""

    kind: str
    frame: pl.DataFrame
    time_ms: Ints
    weight: Ints


@dataclass(slots=True)
class Said:
    """What followed from an advance."""

    facts: list[FactBatch] = field(default_factory=list)
    lines: list[Told] = field(default_factory=list)


class People:
    """Events of people in, in any order within the allowed lateness; facts and lines out.

    *Guarantee*: after the same events the facts add up to the same, whatever their order and split. *Cost*: 1 to 2 µs
    an event, and as much again for the recent events of somebody one of whose events came late.
    """

    def __init__(self, plan: PeoplePlan, texts: Sequence[str] = ()) -> None:
        """`texts`: those of the vocabulary that the state to be taken over was made with."""
        self.plan = plan
        self._kinds = plan.kinds
        self.vocabulary = Vocabulary(texts)
        setting = Setting(plan.zone, self.vocabulary)
        # Persons are always there: who does too much in a day is known of them.
        by_unit: dict[tuple[UnitKey, ...], list[tuple[str, Declaration]]] = {(): []}
        for name, declared in plan.declared:
            by_unit.setdefault(tuple(declared.unit()), []).append((name, declared))
        self.spaces = {
            _name(keys): Space(
                keys,
                Layout.of([declared.needs() for _, declared in group]),
                [Placed(name, declared.make(setting)) for name, declared in group],
                plan.lateness_ms,
                plan.most_a_day,
            )
            for keys, group in by_unit.items()
        }
        self._layout = Layout.of([declared.needs() for _, declared in plan.declared])
        self.gauges = {kind.name: Gauge(kind) for kind in self._kinds.values() if kind.periods is not None}
        self.newest_ms = LONG_AGO_MS
        """Latest time of any event of any shard."""
        self._events: list[Told] = []
        """What is to be told of events themselves."""

    def take(self, frame: pl.DataFrame, time_ms: Ints) -> None:
        """Take the events of a batch (n) in. Those without a person say nothing of people."""
        some = ~frame[self.plan.person].is_null().to_numpy()
        if not some.any():
            return
        if not some.all():
            frame, time_ms = frame.filter(pl.Series(some)), time_ms[some]
        columns = self._layout.read(frame, time_ms, self.vocabulary)
        persons = frame[self.plan.person]
        person = hashes_of(persons)
        if self.plan.keeps_events:
            self._events.append(self._told(frame, persons, time_ms))
        for space in self.spaces.values():
            own = dict(columns)
            if space.layout != self._layout:
                own = space.layout.translated(columns, self._layout.needs.conditions)
            if space.keys:
                self._take_units(space, frame, person, own)
            else:
                space.take(own, person, persons, {})

    def heard(self, time_ms: int) -> None:
        """There was an event, here or in another shard: what holds for whole periods is known up to its own."""
        self.newest_ms = max(self.newest_ms, time_ms)

    def heard_of(self, *, keep: bool = False) -> list[Told]:
        """What is to be told of events themselves since the last call; `keep`: and with the next one again."""
        told = self._events
        if not keep:
            self._events = []
        return told

    def advance(self, watermark_ms: int) -> Said:
        """The watermark has come this far: everything before it is known, but for what comes late."""
        said = Said()
        if watermark_ms <= NEVER_MS:
            return said
        done_ms = watermark_ms - 1
        rows: dict[str, list[Rows]] = {}
        # After the last event nothing holds any more that anybody could know of.
        ended_ms = self.newest_ms if watermark_ms >= END_MS else FAR_MS
        now_ms = min(done_ms, ended_ms)
        if now_ms > LONG_AGO_MS:
            for kind, gauge in self.gauges.items():
                rows.setdefault(kind, []).extend(gauge.advance(now_ms))
        for space in self.spaces.values():
            for sign, slots, facts in space.advance(done_ms, ended_ms):
                for kind, found in facts.rows:
                    rows.setdefault(kind, []).append(Rows(found.time_ms, sign * found.weight, found.fields))
                for kind, spans in facts.spans:
                    signed = [_signed(spans, sign)] if sign < 0 else [spans]
                    rows.setdefault(kind, []).extend(self.gauges[kind].add(signed))
                for kind, entries in facts.entries:
                    said.lines.append(self._lines(space, kind, slots, entries, sign))
        said.facts.extend(self._batch(kind, parts) for kind, parts in rows.items() if parts)
        return said

    def forget(self, person: str) -> None:
        """Let go of all that is known of a person, by pseudonym. What was counted before stays: it is of nobody."""
        self._events = [told.without(person) for told in self._events]
        for space in self.spaces.values():
            space.forget(person)

    def _told(self, frame: pl.DataFrame, persons: pl.Series, time_ms: Ints) -> Told:
        """A line for each event (n)."""
        fields: dict[str, pl.Series] = {}
        if self.plan.named is not None:
            fields["event"] = frame[self.plan.named]
        if self.plan.page is not None:
            (fields["page"],) = evaluate(frame, [_text(self.plan.page)])
        here = np.zeros(len(time_ms), dtype=np.bool_)
        return Told(EVENT, persons, frame[IDENTITY].to_numpy(), time_ms, here, fields)

    def _take_units(self, space: Space, frame: pl.DataFrame, person: Hashes, events: Columns) -> None:
        """Give a space whose units are more than persons its events; those that are of no unit are left out."""
        unit, codes = person, {}
        some = np.ones(len(person), dtype=np.bool_)
        for place, key in enumerate(space.keys):
            (texts,) = evaluate(frame, [_text(key.text)])
            if key.named:
                codes[place] = self.vocabulary.codes(texts)
                part = codes[place].astype(np.uint64)
            else:
                part = hashes_of(texts)
                some &= part != 0
            # Never the sum alone: units of which person and text are changed about would be the same.
            unit = (unit ^ (part + _MIX + (unit << np.uint64(6)) + (unit >> np.uint64(2)))) * _MIX
        persons = frame[self.plan.person]
        if not some.all():
            events, unit, persons = taken(events, some), unit[some], persons.filter(pl.Series(some))
            codes = {place: numbers[some] for place, numbers in codes.items()}
        space.take(events, unit, persons, codes)

    def _batch(self, kind: str, parts: Sequence[Rows]) -> FactBatch:
        fields = self._kinds[kind].fields
        columns = []
        for name, type_ in fields.items():
            values = np.concatenate([part.fields[name] for part in parts])
            text = type_ is FieldType.STRING
            columns.append(self.vocabulary.column(values).alias(name) if text else pl.Series(name, values))
        time_ms = np.concatenate([part.time_ms for part in parts])
        # There is a row for each also of a kind without fields.
        frame = pl.DataFrame([*columns, pl.Series("\ntime", time_ms)])
        return FactBatch(kind, frame, time_ms, np.concatenate([part.weight for part in parts]))

    def _lines(self, space: Space, kind: str, slots: Ints, entries: Any, sign: int) -> Told:
        types = self._kinds[kind].fields
        fields = {
            name: self.vocabulary.column(values) if types[name] is FieldType.STRING else pl.Series(values)
            for name, values in entries.fields.items()
        }
        persons = space.person_of(slots[entries.owner])
        return Told(kind, persons, entries.reference, entries.time_ms, sign * entries.weight < 0, fields)


@lru_cache(maxsize=256)
def _text(expression: str) -> pl.Expr:
    """An expression that gives texts. Compiled once: asking takes longer than a small batch."""
    return compile_expression(expression).cast(pl.String).alias("t0")


def _signed(spans: Any, sign: int) -> Any:
    return type(spans)(spans.first, spans.after, sign * spans.weight, spans.fields)


def _name(keys: Sequence[UnitKey]) -> str:
    return "|".join(("person", *(f"{'by' if key.named else 'of'} {key.text}" for key in keys)))
