"""Analyses of people driven by hand: events in order, in as many runs as a test likes, no engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from stream.digests import hashes_of
from stream.expressions import FieldType, compile_expression
from stream.people.base import Declaration, Facts, Run, Setting, State
from stream.people.vocabulary import Vocabulary

Event = Mapping[str, Any]
"""`person`, `time` in epoch milliseconds, and fields; those of equal times are in the order in which they are given."""
Fact = tuple[str, int, tuple[tuple[str, Any], ...]]
"""(kind, time_ms, fields by name)."""
END_MS = 1 << 62


class Said(Counter[Fact]):
    """How often each fact was said in all; those that add up to nothing are not there."""


def facts_of(
    declaration: Declaration,
    events: Sequence[Event],
    *,
    zone: str = "UTC",
    cuts: Iterable[int] = (),
    until_ms: int = END_MS,
    spans_until_ms: int | None = None,
    session_begins: Mapping[int, bool] | None = None,
) -> Said:
    """What an analysis says of the events, which are given to it in runs that end at the moments of `cuts`.

    Spans count up to the period that `spans_until_ms` is in; default: that of the last event. `session_begins` says of
    each event, by its place in `events`, whether a session begins with it.
    """
    setting = Setting(ZoneInfo(zone), Vocabulary())
    analysis = declaration.make(setting)
    kinds = {kind.name: kind for kind in declaration.kinds(setting.zone)}
    order = sorted(range(len(events)), key=lambda place: events[place]["time"])
    frame = _frame(declaration, [events[place] for place in order])
    keys = _units(declaration, frame)
    units = {key: number for number, key in enumerate(dict.fromkeys(key for key in keys if key is not None))}
    unit_of = np.array([-1 if key is None else units[key] for key in keys], dtype=np.int64)
    times = np.array([events[place]["time"] for place in order], dtype=np.int64)
    begins = None
    if session_begins is not None:
        begins = np.array([session_begins[place] for place in order], dtype=np.bool_)
    state = empty_state(analysis.columns, len(units))
    needs = declaration.needs()
    named = [place for place, key in enumerate(declaration.unit()) if key.named]
    last_ms = int(times.max()) if spans_until_ms is None else spans_until_ms
    said = Said()
    done_ms = -END_MS
    for until in sorted({*cuts, until_ms}):
        rows = np.flatnonzero((times > done_ms) & (times <= until) & (unit_of >= 0))
        rows = rows[np.argsort(unit_of[rows], kind="stable")]
        done_ms = until
        part = frame[rows]
        owner = unit_of[rows]
        run = Run(
            until_ms=until,
            owner=owner,
            first=np.searchsorted(owner, np.arange(len(units))),
            time_ms=times[rows],
            identity=np.array([1_000_003 * (order[row] + 1) for row in rows.tolist()], dtype=np.uint64),
            conditions={t: _evaluated(part, t).fill_null(False).to_numpy() for t in needs.conditions},
            values={t: _evaluated(part, t).cast(pl.Float64).fill_null(float("nan")).to_numpy() for t in needs.values},
            texts={t: setting.vocabulary.codes(_evaluated(part, t).cast(pl.String)) for t in needs.texts},
            hashes={t: hashes_of(_evaluated(part, t).cast(pl.String)) for t in needs.hashes},
            unit_hash=np.arange(1, len(units) + 1, dtype=np.uint64) * np.uint64(7_919),
            unit_texts=[
                np.array([setting.vocabulary.code(key[1 + place] or "__none__") for key in units], dtype=np.int64)
                for place in named
            ],
            session_begins=None if begins is None else begins[rows],
        )
        facts = Facts()
        analysis.run(state, run, facts)
        for kind, found in facts.rows:
            assert set(found.fields) == set(kinds[kind].fields), f"{kind} has other fields than it declares"
            for row in range(len(found.time_ms)):
                fields = _fields(setting.vocabulary, kinds[kind].fields, found.fields, row)
                said[kind, int(found.time_ms[row]), fields] += int(found.weight[row])
        for kind, spans in facts.spans:
            periods = kinds[kind].periods
            assert periods is not None, f"{kind} has no periods"
            for row in range(len(spans.first)):
                fields = _fields(setting.vocabulary, kinds[kind].fields, spans.fields, row)
                newest = int(periods.of(np.array([last_ms]))[0])
                for number in range(int(spans.first[row]), min(int(spans.after[row]), newest + 1)):
                    said[kind, int(periods.start_ms(np.array([number]))[0]), fields] += int(spans.weight[row])
        for kind, entries in facts.entries:
            for row in range(len(entries.owner)):
                fields = tuple((name, values[row].item()) for name, values in sorted(entries.fields.items()))
                reference = int(entries.reference[row])
                who = ("owner", int(entries.owner[row])), ("reference", reference)
                said[f"entry {kind}", int(entries.time_ms[row]), (*who, *fields)] += int(entries.weight[row])
    for fact in [fact for fact, weight in said.items() if not weight]:
        del said[fact]
    return said


def empty_state(columns: Sequence[Any], units: int) -> State:
    """The state of people who were never seen."""
    return {
        column.name: np.full(units if column.width == 1 else (units, column.width), column.fill, dtype=column.dtype)
        for column in columns
    }


def _evaluated(frame: pl.DataFrame, text: str) -> pl.Series:
    return frame.with_columns(compile_expression(text).alias("\nresult"))["\nresult"]


def _frame(declaration: Declaration, events: Sequence[Event]) -> pl.DataFrame:
    names = dict.fromkeys(name for event in events for name in event)
    needs = declaration.needs()
    texts = (*needs.conditions, *needs.values, *needs.texts, *needs.hashes, *(key.text for key in declaration.unit()))
    for text in texts:
        names.update(dict.fromkeys(compile_expression(text).meta.root_names()))
    columns = {name: [event.get(name) for event in events] for name in names if name != "time"}
    return pl.DataFrame(columns, strict=False).with_columns(pl.col(pl.Null).cast(pl.String))


def _units(declaration: Declaration, frame: pl.DataFrame) -> list[tuple[str | None, ...] | None]:
    """Who each event's unit is: the person and the unit's texts; none where an unnamed one is missing."""
    keys = declaration.unit()
    columns = [frame["person"].to_list(), *(_evaluated(frame, key.text).cast(pl.String).to_list() for key in keys)]
    return [
        None
        if row[0] is None or any(text is None and not key.named for text, key in zip(row[1:], keys, strict=True))
        else row
        for row in zip(*columns, strict=True)
    ]


def _fields(
    vocabulary: Vocabulary, types: Mapping[str, FieldType], fields: Mapping[str, Any], row: int
) -> tuple[tuple[str, Any], ...]:
    found = []
    for name in sorted(fields):
        value = fields[name][row].item()
        found.append((name, vocabulary.texts[value] if types[name] is FieldType.STRING else value))
    return tuple(found)
