"""The points in SQL: SQLite where nothing else is configured, PostgreSQL where somebody runs one."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, case, delete, exists, func, not_, or_, select, text, tuple_
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from sinks import schema
from sinks.database import insert_into, open_database, place_of, transaction
from sinks.errors import Misconfigured, Retryable
from sinks.prepared import prepare
from sinks.records import ALL_READ_MS, ROUNDING, Dimensions, Point, State, Value, taken_over

_SERIES_CACHE_SIZE = 200_000
_SERIES_A_PRUNE = 200
_POINTS_A_PRUNE = 20_000

_series = schema.series
_dimension = schema.series_dimension
_points = schema.points

_SeriesKey = tuple[str, str, Dimensions]

_POINT_COLUMNS = (
    _series.c.metric,
    _series.c.window,
    _points.c.start_ms,
    _series.c.dimensions,
    _series.c.names,
    _points.c.value_json,
    _points.c["count"],
    _points.c.state,
    _points.c.revision,
    _points.c.watermark_ms,
    _points.c.error,
)


class Store:
    """Points as rows that can be asked for again: the history behind REST, boards and the hub's first
    snapshot.

    `url` is an SQLAlchemy URL such as `sqlite:////var/lib/streamgauge/points.db` or `postgresql://…`.
    Creating a store connects to nothing. One store may be used from several threads, and several processes
    may share a database.

    *Guarantee*: `write` is one transaction of upserts keyed by (metric, window, start, dimensions); all of it
    is committed when it returns. The last write wins, except that an open point never replaces a final or
    corrected one, and that a final one with another value is kept as corrected, so a processor that replays
    after a crash cannot make a settled number unsettled. SQLite
    commits survive a killed process; after a power cut the last few may be missing (`synchronous=NORMAL`).
    *Failure*: locked, full or away → `Retryable`; a path that cannot be written, a refused login, a database
    of a newer version → `Misconfigured`. Nothing was written in either case.
    *Cost*: some 10 µs a point on SQLite in batches of 1,000 or more, 30 µs on PostgreSQL, twice that where every point
    begins a new series. `busy_timeout_s` is the longest that a write waits for another process's on SQLite; on
    PostgreSQL writers wait row by row, for as long as the other takes.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0) -> None:
        self._engine = open_database(url, busy_timeout_s=busy_timeout_s)
        self._place = place_of(self._engine)
        self._takes_columns = self._engine.dialect.name == "postgresql"
        self._upsert_points = _upsert_points(self._engine)
        self._upsert_series = _upsert_series(insert_into(self._engine, _series))
        self._insert_dimension = insert_into(self._engine, _dimension).on_conflict_do_nothing()
        # Numbers of committed series only. Nothing iterates over it, so threads need no lock.
        self._series_ids: dict[_SeriesKey, int] = {}

    def setup(self) -> None:
        """Create what is missing and check the schema version; `Misconfigured` for a newer database."""
        prepare(self._engine)

    def write(self, points: Sequence[Point]) -> None:
        """Upsert `points` in one transaction."""
        if not points:
            return
        kept = _one_per_key(points)
        try:
            self._write(kept)
        except _SeriesGone:
            # Another process pruned a series whose number is remembered here; all numbers are asked for
            # again.
            self._series_ids = {}
            try:
                self._write(kept)
            except _SeriesGone as error:
                raise Retryable(f"{self._place}: series are being pruned faster than written") from error

    def _write(self, kept: Mapping[tuple[_SeriesKey, int], Point]) -> None:
        known = self._series_ids
        with transaction(self._engine, write=True) as connection:
            unknown = {key for key, _ in kept if key not in known}
            found = self._resolve(connection, unknown) if unknown else {}
            # Sorted, so that two writers cannot wait for each other.
            rows = sorted(
                (
                    found[key] if key in found else known[key],
                    start_ms,
                    _number(point.value),
                    _to_json(point.value),
                    point.count,
                    point.state._value_,
                    point.revision,
                    point.watermark_ms,
                    point.error,
                )
                for (key, start_ms), point in kept.items()
            )
            try:
                # Through SQLAlchemy's own statements each row would cost three times as much.
                if self._takes_columns:
                    columns: Any = tuple(list(column) for column in zip(*rows, strict=True))
                    connection.exec_driver_sql(self._upsert_points, columns)
                else:
                    connection.exec_driver_sql(self._upsert_points, rows)
            except IntegrityError as error:
                if not known:
                    raise
                raise _SeriesGone from error
        # Only now: a number from a transaction that was rolled back may be given to another series.
        if len(known) + len(found) > _SERIES_CACHE_SIZE:
            self._series_ids = found
        else:
            known.update(found)

    def _resolve(self, connection: Connection, keys: set[_SeriesKey]) -> dict[_SeriesKey, int]:
        """The number of each series, given now to those that have none."""
        wanted: dict[tuple[str, str, str], list[_SeriesKey]] = {}
        for key in keys:
            metric, window, dimensions = key
            wanted.setdefault((metric, window, _canonical(dimensions)), []).append(key)
        rows = [
            {
                "metric": metric,
                "window": window,
                "dimensions": canonical,
                "names": json.dumps([name for name, _ in alike[0][2]]),
            }
            for (metric, window, canonical), alike in sorted(wanted.items())
        ]
        ids: dict[_SeriesKey, int] = {}
        for series_id, metric, window, canonical in connection.execute(self._upsert_series, rows):
            ids.update(dict.fromkeys(wanted[metric, window, canonical], series_id))
        pairs = sorted({(_asked(name), _asked(value), ids[key]) for key in keys for name, value in key[2]})
        if pairs:
            connection.execute(
                self._insert_dimension,
                [{"name": name, "value": value, "series_id": series_id} for name, value, series_id in pairs],
            )
        return ids

    def points(
        self,
        metric: str,
        window: str,
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
        dimensions: Mapping[str, str | Sequence[str]] | None = None,
        limit: int = 10_000,
    ) -> list[Point]:
        """The points that start in `[from_ms, to_ms)`, by start and then dimensions; the earliest `limit`.

        `dimensions` keeps the series that have each of these values, or one of several; their other dimensions may be
        anything.
        """
        query = select(*_POINT_COLUMNS).join_from(_series, _points)
        query = query.where(_series.c.metric == metric, _series.c.window == window)
        for name, value in (dimensions or {}).items():
            having = select(_dimension.c.series_id).where(_dimension.c.name == _asked(name))
            values = [value] if isinstance(value, str) else value
            mine = _dimension.c.value.in_([_asked(one) for one in values])
            query = query.where(_series.c.id.in_(having.where(mine)))
        if from_ms is not None:
            query = query.where(_points.c.start_ms >= from_ms)
        if to_ms is not None:
            query = query.where(_points.c.start_ms < to_ms)
        query = query.order_by(_points.c.start_ms, _series.c.dimensions).limit(limit)
        with transaction(self._engine) as connection:
            return _read(connection.execute(query))

    def starts(self, metric: str, window: str, *, to_ms: int | None = None, limit: int = 1) -> list[int]:
        """When the latest `limit` windows start in which any series has a point, oldest first; before `to_ms`."""
        own = _points.alias("own")
        by_start = select(own.c.start_ms).where(own.c.series_id == _series.c.id).correlate(_series)
        if to_ms is not None:
            by_start = by_start.where(own.c.start_ms < to_ms)
        # The latest of all series are among the latest of each, which the key finds without reading the others.
        by_start = by_start.order_by(own.c.start_ms.desc()).limit(limit)
        query = select(_points.c.start_ms).distinct().join_from(_series, _points)
        query = query.where(_series.c.metric == metric, _series.c.window == window, _points.c.start_ms.in_(by_start))
        query = query.order_by(_points.c.start_ms.desc()).limit(limit)
        with transaction(self._engine) as connection:
            return sorted(connection.execute(query).scalars())

    def latest(self, since_ms: int, *, per_series: int = 2) -> list[Point]:
        """What each live series last was: its `per_series` windows with the latest starts, oldest first.

        A series is live when its latest window started at or after `since_ms`, or was last emitted with a
        watermark at or after it: so the day that began this morning counts when `since_ms` is an hour ago.
        All of a live series' latest windows are given, also those from before `since_ms`.
        """
        own = _points.alias("own")
        by_start = select(own.c.start_ms).where(own.c.series_id == _series.c.id).correlate(_series)
        by_start = by_start.order_by(own.c.start_ms.desc())
        sign_of_life = case((own.c.watermark_ms > own.c.start_ms, own.c.watermark_ms), else_=own.c.start_ms)
        query = (
            select(*_POINT_COLUMNS)
            .join_from(_series, _points)
            .where(
                by_start.with_only_columns(sign_of_life).limit(1).scalar_subquery() >= since_ms,
                _points.c.start_ms.in_(by_start.limit(per_series)),
            )
            .order_by(_series.c.metric, _series.c.window, _series.c.dimensions, _points.c.start_ms)
        )
        with transaction(self._engine) as connection:
            return _read(connection.execute(query))

    def roll_back(self, metrics: Collection[str], after_ms: int) -> int:
        """Delete the points of some metrics that were made at a watermark behind `after_ms`; how many."""
        with transaction(self._engine) as connection:
            ids = connection.execute(select(_series.c.id).where(_series.c.metric.in_(list(metrics)))).scalars().all()
        removed = 0
        for i in range(0, len(ids), _SERIES_A_PRUNE):
            some = ids[i : i + _SERIES_A_PRUNE]
            # A point of all input has a watermark beyond all time.
            made = (_points.c.watermark_ms > after_ms) & _points.c.series_id.in_(some)
            with transaction(self._engine, write=True) as connection:
                removed += connection.execute(delete(_points).where(made)).rowcount
        return removed

    def prune(self, window: str, before_ms: int) -> int:
        """Delete the points of `window` that start before `before_ms`, and series left empty; how many
        points.

        Works in several short transactions, so that a writer never waits long; stopping between two does no
        harm.
        """
        removed = gone = 0
        empty = not_(exists().where(_points.c.series_id == _series.c.id))
        for some in self._series_of(window):
            key = tuple_(_points.c.series_id, _points.c.start_ms)
            old = select(_points.c.series_id, _points.c.start_ms).where(_is_old(some, before_ms))
            while True:
                with transaction(self._engine, write=True) as connection:
                    found = connection.execute(delete(_points).where(key.in_(old.limit(_POINTS_A_PRUNE)))).rowcount
                removed += found
                if found < _POINTS_A_PRUNE:
                    break
            try:
                with transaction(self._engine, write=True) as connection:
                    gone += connection.execute(delete(_series).where(_series.c.id.in_(some), empty)).rowcount
            except Misconfigured as error:
                # On PostgreSQL, one that was empty has just been written to. It will be looked at again.
                if not isinstance(error.__cause__, IntegrityError):
                    raise
        if gone:
            self._series_ids = {}
        return removed

    def before(self, window: str, before_ms: int) -> tuple[int, int | None]:
        """What `prune` would delete: how many points, and when the oldest starts."""
        total, oldest = 0, None
        for some in self._series_of(window):
            query = select(func.count(), func.min(_points.c.start_ms)).where(_is_old(some, before_ms))
            with transaction(self._engine) as connection:
                found, first = connection.execute(query).one()
            if found:
                total, oldest = total + found, first if oldest is None else min(oldest, first)
        return total, oldest

    def newest_ms(self) -> int | None:
        """How far time has come by what is stored: the newest watermark of any series' latest point, or where that is
        the end of all input, its start. None for an empty store."""
        own = _points.alias("own")
        last = select(func.max(own.c.start_ms)).where(own.c.series_id == _series.c.id).correlate(_series)
        come = case((_points.c.watermark_ms < ALL_READ_MS, _points.c.watermark_ms), else_=_points.c.start_ms)
        query = select(func.max(come)).join_from(_series, _points).where(_points.c.start_ms == last.scalar_subquery())
        with transaction(self._engine) as connection:
            found: int | None = connection.execute(query).scalar_one()
        return found

    def _series_of(self, window: str) -> list[Sequence[int]]:
        """The numbers of a window's series, some at a time."""
        with transaction(self._engine) as connection:
            ids = connection.execute(select(_series.c.id).where(_series.c.window == window)).scalars().all()
        return [ids[i : i + _SERIES_A_PRUNE] for i in range(0, len(ids), _SERIES_A_PRUNE)]

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


class _SeriesGone(Exception):
    """A remembered series number is no longer in the database."""


def _is_old(series_ids: Sequence[int], before_ms: int) -> Any:
    return and_(_points.c.series_id.in_(series_ids), _points.c.start_ms < before_ms)


def _upsert_points(engine: Engine) -> str:
    """The statement that upserts points, whose parameters are the columns in the order of the table: of one row on
    SQLite, of all rows as one array each on PostgreSQL."""
    key = ("series_id", "start_ms")
    old = _points.c
    names = [column.name for column in old]
    insert: Any = insert_into(engine, _points)
    if engine.dialect.name == "postgresql":
        insert = insert.from_select(names, select(text("*")).select_from(text("unnest(GIVEN)")))
    else:
        insert = insert.values({name: text("?") for name in names}).inline()
    new = insert.excluded
    settled = old.state != State.OPEN.value
    # As `taken_over` has it.
    another = or_(
        old.state == State.CORRECTED.value,
        new["count"] != old["count"],
        and_(or_(old.value.is_(None), new.value.is_(None)), new.value_json != old.value_json),
        func.abs(new.value - old.value) > ROUNDING * func.abs(old.value),
    )
    state = case((and_(settled, new.state == State.FINAL.value, another), State.CORRECTED.value), else_=new.state)
    upsert = insert.on_conflict_do_update(
        index_elements=[old[name] for name in key],
        set_={name: new[name] for name in names if name not in key} | {"state": state},
        where=not_(and_(settled, new.state == State.OPEN.value)),
    )
    compiled = str(upsert.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True}))
    # In binary form, which is half of the work.
    arrays = ", ".join(f"%b::{column.type.compile(dialect=engine.dialect)}[]" for column in old)
    return compiled.replace("GIVEN", arrays)


def _upsert_series(insert: Any) -> Any:
    # Setting the names is what makes RETURNING give the series that exist too, and follows a reordered `by`.
    upsert = insert.on_conflict_do_update(
        index_elements=[_series.c.metric, _series.c.window, _series.c.dimensions],
        set_={"names": insert.excluded.names},
    )
    return upsert.returning(_series.c.id, _series.c.metric, _series.c.window, _series.c.dimensions)


def _one_per_key(points: Sequence[Point]) -> dict[tuple[_SeriesKey, int], Point]:
    """The point of each key that would be left had they been written one by one.

    PostgreSQL refuses to upsert a row twice in one statement.
    """
    kept: dict[tuple[_SeriesKey, int], Point] = {}
    for point in points:
        key = ((point.metric, point.window, point.dimensions), point.start_ms)
        taken = taken_over(kept[key], point) if key in kept else point
        if taken is not None:
            kept[key] = taken
    return kept


def _read(rows: Iterable[Any]) -> list[Point]:
    """Points of rows of `_POINT_COLUMNS`."""
    dimensions_of: dict[tuple[str, str], Dimensions] = {}
    points = []
    for metric, window, start_ms, canonical, names, value_json, count, state, revision, watermark, error in rows:
        dimensions = dimensions_of.get((canonical, names))
        if dimensions is None:
            values = json.loads(canonical)
            dimensions = tuple((name, values[name]) for name in json.loads(names))
            dimensions_of[canonical, names] = dimensions
        value = json.loads(value_json)
        settled = State(state)
        points.append(Point(metric, window, start_ms, dimensions, value, count, settled, revision, watermark, error))
    return points


def _canonical(dimensions: Dimensions) -> str:
    return json.dumps(dict(dimensions), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _asked(words: str) -> str:
    """Text that dimensions are found by; PostgreSQL has no NUL in text."""
    return words.replace("\0", "␀")


def _to_json(value: Value) -> str:
    """JSON has no NaN and no infinity: such a number is stored as none, such a key of a mapping left out."""
    if type(value) is int:
        return str(value)
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return json.dumps({key: number for key, number in value.items() if math.isfinite(number)})
    return json.dumps(value) if math.isfinite(value) else "null"


def _number(value: Value) -> float | None:
    if value is None or isinstance(value, Mapping):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer past 1e308; `value_json` has it
        return None
    return number if math.isfinite(number) else None
