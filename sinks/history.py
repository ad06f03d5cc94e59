"""What the store knows of a metric over a range of time, read so that a month of many series is quick."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
from sqlalchemy import Text, and_, case, cast, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.engine import Connection

from sinks import schema
from sinks.combined import Combine, Part, parts_of, run_of
from sinks.database import open_database, transaction
from sinks.records import ALL_READ_MS, Dimensions, State
from sinks.runs import STATES, Run

_series = schema.series
_dimension = schema.series_dimension
_points = schema.points

_STATE_DIGIT = case(
    *((_points.c.state == state.value, index) for index, state in enumerate(STATES[:-1])), else_=len(STATES) - 1
)
_PULSE = "streamgauge_events"
"""The metric that every processor has, whose points tell how far the store is."""


@dataclass(frozen=True, slots=True)
class Series:
    """One that the store knows."""

    id: int
    dimensions: Dimensions
    canonical: str
    """The dimensions as text: what answers are in the order of."""


class History:
    """The past of metrics, for REST and charts; nothing is written.

    *Guarantee*: what is read inside one `reading()` is of one moment. *Failure*: as `Store`. *Cost*: some 0.3 µs a
    point on SQLite, as the columns of a series leave the database as one text each; combining, 0.5 µs a point.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0) -> None:
        self._engine = open_database(url, busy_timeout_s=busy_timeout_s)

    @contextmanager
    def reading(self) -> Iterator[Past]:
        """Raises SinkError, inside the block too."""
        with transaction(self._engine) as connection:
            yield Past(connection, postgres=self._engine.dialect.name == "postgresql")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


class Past:
    """The store at one moment."""

    def __init__(self, connection: Connection, *, postgres: bool) -> None:
        self._connection = connection
        self._postgres = postgres

    def series(
        self, metric: str, window: str, by: Sequence[str], dimensions: Mapping[str, Collection[str]]
    ) -> list[Series]:
        """The series of a metric with just the dimensions `by`, each of which has one of the values asked for.

        A former catalog may have had the metric with other dimensions.
        """
        columns = (_series.c.id, _series.c.dimensions, _series.c.names)
        query = select(*columns).where(_series.c.metric == metric, _series.c.window == window, *_having(dimensions))
        found = []
        own: dict[str, bool] = {}
        for series_id, canonical, names in self._connection.execute(query.order_by(_series.c.dimensions)):
            if names not in own:
                own[names] = json.loads(names) == list(by)
            if not own[names]:
                continue
            held = json.loads(canonical)
            found.append(Series(series_id, tuple((name, held[name]) for name in by), canonical))
        return found

    def bounds(
        self, metric: str, window: str, dimensions: Mapping[str, Collection[str]] | None = None
    ) -> tuple[int, int] | None:
        """When the first and the last window start that the store has of a metric, and of series with these dimensions;
        None where it has none."""
        own = _points.alias("own")
        mine = own.c.series_id == _series.c.id
        first = select(func.min(own.c.start_ms)).where(mine).correlate(_series).scalar_subquery()
        last = select(func.max(own.c.start_ms)).where(mine).correlate(_series).scalar_subquery()
        query = select(func.min(first), func.max(last)).select_from(_series)
        query = query.where(_series.c.metric == metric, _series.c.window == window, *_having(dimensions or {}))
        row = self._connection.execute(query).one()
        return None if row[0] is None else (row[0], row[1])

    def watermark_ms(self, ids: Collection[int], *, of_events: bool = True) -> int | None:
        """Up to when the store has everything of some series, as far as their latest windows tell.

        `of_events`: those of all events tell it too. Of what is known later than events are, such as facts about
        people, they do not.
        """
        own = _points.alias("own")
        latest = select(own.c.watermark_ms).where(own.c.series_id == _series.c.id, own.c.watermark_ms < ALL_READ_MS)
        latest = latest.correlate(_series).order_by(own.c.start_ms.desc()).limit(1)
        query = select(func.max(latest.scalar_subquery())).select_from(_series)
        mine = _series.c.id.in_(list(ids))
        query = query.where(or_(_series.c.metric == _PULSE, mine) if of_events else mine)
        found: int | None = self._connection.execute(query).scalar_one()
        return found

    def largest(self, series: Sequence[Series], from_ms: int, to_ms: int, limit: int, *, adds_up: bool) -> list[Series]:
        """The `limit` series with the largest total, or largest value, of the windows that start in [from, to).

        Of metrics that give several values it is those with the most events. In the order of their dimensions.
        """
        size = func.sum(_points.c.value) if adds_up else func.max(_points.c.value)
        in_range = and_(_points.c.start_ms >= from_ms, _points.c.start_ms < to_ms)
        query = select(_points.c.series_id, size, func.sum(_points.c["count"])).where(in_range)
        sizes: dict[int, tuple[float, float]] = {}
        for some in _in_parts([one.id for one in series]):
            asked = query.where(_points.c.series_id.in_(some)).group_by(_points.c.series_id)
            for series_id, total, events in self._connection.execute(asked):
                sizes[series_id] = (float("-inf") if total is None else total, float(events))
        nothing = (float("-inf"), float("-inf"))
        chosen = sorted(series, key=lambda one: sizes.get(one.id, nothing), reverse=True)[:limit]
        return sorted(chosen, key=lambda one: one.canonical)

    def runs(self, series: Sequence[Series], starts: Sequence[int], *, details: bool) -> list[Run]:
        """The points of each series on a row of windows, by column, in the order of `series`.

        Without `details` there are no counts, revisions and errors, and of states only whether they are open.
        """
        whole = {} if details else self._whole(series, starts)
        others = self.between(
            [one for one in series if one.id not in whole], starts[0], starts[-1] + 1, details=details
        )
        left = iter(others)
        return [whole[one.id] if one.id in whole else next(left) for one in series]

    def between(self, series: Sequence[Series], from_ms: int, to_ms: int, *, details: bool = True) -> list[Run]:
        """The points of each series that start in [from, to), whatever windows there are; as `runs` has them."""
        columns = [_points.c.start_ms, _points.c.value_json, _STATE_DIGIT]
        if details:
            error = cast(_points.c.error, Text) if self._postgres else func.printf("%!.17g", _points.c.error)
            known = case((_points.c.error.is_(None), "null"), else_=error)
            columns += [_points.c["count"], _points.c.revision, known]
        query = select(_points.c.series_id, *map(self._joined, columns))
        texts = {row[0]: row[1:] for row in self._by_series(query, series, from_ms, to_ms)}
        return [_run(one, texts.get(one.id)) for one in series]

    def _whole(self, series: Sequence[Series], starts: Sequence[int]) -> dict[int, Run]:
        """Those that have a point in each window, by id: their starts are known without reading them."""
        start_ms = _points.c.start_ms
        opened = case((_points.c.state == State.OPEN.value, start_ms))
        ends = (func.count(), func.min(start_ms), func.max(start_ms))
        query = select(_points.c.series_id, *ends, *map(self._joined, (_points.c.value_json, opened)))
        place = {start: index for index, start in enumerate(starts)}
        found = {}
        about = {one.id: one for one in series}
        for series_id, *seen, values_json, open_starts in self._by_series(query, series, starts[0], starts[-1] + 1):
            if seen == [len(starts), starts[0], starts[-1]]:
                states = [STATES.index(State.FINAL)] * len(starts)
                for start in _numbers(open_starts or ""):
                    states[place[start]] = STATES.index(State.OPEN)
                found[series_id] = Run(about[series_id].dimensions, list(starts), values_json, states)
        return found

    def _by_series(self, query: Any, series: Sequence[Series], from_ms: int, to_ms: int) -> Iterator[Sequence[Any]]:
        query = query.where(_points.c.start_ms >= from_ms, _points.c.start_ms < to_ms)
        for some in _in_parts([one.id for one in series]):
            asked = query.where(_points.c.series_id.in_(some)).group_by(_points.c.series_id)
            yield from self._connection.execute(asked)

    def combined(
        self, series: Sequence[Series], starts: Sequence[int], end_ms: int, how: Combine, watermark_ms: int | None
    ) -> list[Run]:
        """The points of each series put together into the windows that start at `starts`, the last until `end_ms`."""
        by_id: dict[int, list[Part]] = {one.id: [] for one in series}
        for some in _in_parts(list(by_id)):
            for series_id, part in parts_of(self._connection, some, starts[0], end_ms, how):
                by_id[series_id].append(part)
        return [run_of(one.dimensions, by_id[one.id], starts, end_ms, how, watermark_ms) for one in series]

    def _joined(self, column: Any) -> Any:
        """All of a column in one text: a row of Python a point would cost ten times as much."""
        if self._postgres:
            return func.string_agg(cast(column, Text), aggregate_order_by(literal_column("','"), _points.c.start_ms))
        # SQLite visits them in the order of the key; where it ever does not, `_run` sorts.
        return func.group_concat(column, ",")


def _having(dimensions: Mapping[str, Collection[str]]) -> Iterator[Any]:
    """Series of which each of these dimensions has one of its values."""
    for name, values in dimensions.items():
        having = select(_dimension.c.series_id).where(_dimension.c.name == _stored(name))
        yield _series.c.id.in_(having.where(_dimension.c.value.in_([_stored(one) for one in values])))


def _run(series: Series, texts: Sequence[str] | None) -> Run:
    if texts is None:
        return Run(series.dimensions, [], "", [], [], [], [])
    starts = _numbers(texts[0])
    run = Run(series.dimensions, starts, texts[1], _numbers(texts[2]), *(_numbers(text) for text in texts[3:]))
    return run if all(one < next_ for one, next_ in pairwise(starts)) else run.sorted()


def _numbers(text: str) -> list[Any]:
    found: list[Any] = orjson.loads(f"[{text}]")
    return found


def _in_parts(ids: list[int], size: int = 5_000) -> Iterator[list[int]]:
    """No statement may have more than some ten thousands of parameters."""
    for i in range(0, len(ids), size):
        yield ids[i : i + size]


def _stored(text: str) -> str:
    """PostgreSQL has no NUL in text."""
    return text.replace("\0", "␀")
