"""The store's tables as SQL sees them: each is read from the store when a query names it, and not before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Select, inspect, select
from sqlalchemy.engine import Engine

from sinks import schema
from sinks.database import open_database, transaction

_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Range:
    """What of the store is read at all. Times in epoch milliseconds."""

    since_ms: int | None = None
    until_ms: int | None = None
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreTable:
    """A name of SQL: the rows that are read for it, and the view that shows them."""

    name: str
    columns: dict[str, Any]
    """Of what is read, with the types that Polars gives them."""
    shown: str
    """SQL over `<name>_rows`."""
    time: str | None = None
    """Column that `--since` and `--until` are about."""
    is_of_metric: bool = False


_MAP = "from_json({0}, '\"MAP(VARCHAR, VARCHAR)\"')"
_TIME = "make_timestamptz({0} * 1000)"
_TEXT, _INTEGER, _NUMBER, _BOOLEAN = pl.String, pl.Int64, pl.Float64, pl.Boolean


def _at(column: str, name: str) -> str:
    return f"{_TIME.format(column)} AS {name}"


TABLES = {
    table.name: table
    for table in (
        StoreTable(
            "points",
            {
                "metric": _TEXT,
                "window": _TEXT,
                "dimensions": _TEXT,
                "start_ms": _INTEGER,
                "value": _NUMBER,
                "value_json": _TEXT,
                "count": _INTEGER,
                "state": _TEXT,
                "revision": _INTEGER,
                "watermark_ms": _INTEGER,
                "error": _NUMBER,
            },
            f'metric, "window", {_at("start_ms", "start")}, {_MAP.format("dimensions")} AS dimensions, "value", '
            f"value_json::JSON AS value_json, count, state, revision, {_at('watermark_ms', 'watermark')}, error",
            "start_ms",
            True,
        ),
        StoreTable(
            "alerts",
            {
                "id": _TEXT,
                "rule": _TEXT,
                "metric": _TEXT,
                "severity": _TEXT,
                "status": _TEXT,
                "opened_ms": _INTEGER,
                "last_seen_ms": _INTEGER,
                "resolved_ms": _INTEGER,
                "state_json": _TEXT,
            },
            f"id, rule, metric, severity, status, {_at('opened_ms', 'opened')}, {_at('last_seen_ms', 'last_seen')}, "
            f"{_at('resolved_ms', 'resolved')}, state_json::JSON AS alert",
            "opened_ms",
            True,
        ),
        StoreTable(
            "scores",
            {
                "rule": _TEXT,
                "metric": _TEXT,
                "window": _TEXT,
                "dimensions": _TEXT,
                "start_ms": _INTEGER,
                "value": _NUMBER,
                "score": _NUMBER,
                "warm": _BOOLEAN,
                "anomalous": _BOOLEAN,
                "expected": _NUMBER,
                "lower": _NUMBER,
                "upper": _NUMBER,
                "why": _TEXT,
            },
            f'rule, metric, "window", {_at("start_ms", "start")}, {_MAP.format("dimensions")} AS dimensions, "value", '
            "score, warm, anomalous, expected, lower, upper, why",
            "start_ms",
            True,
        ),
        StoreTable(
            "person_lines",
            {"person": _TEXT, "kind": _TEXT, "reference": _INTEGER, "at_ms": _INTEGER, "fields_json": _TEXT},
            f"person, kind, reference, {_at('at_ms', 'at')}, fields_json::JSON AS fields",
            "at_ms",
        ),
        StoreTable(
            "churn_scores",
            {
                "person": _TEXT,
                "as_of_ms": _INTEGER,
                "changed_ms": _INTEGER,
                "level": _TEXT,
                "probability": _NUMBER,
                "segment": _TEXT,
                "score_json": _TEXT,
            },
            f"person, {_at('as_of_ms', 'as_of')}, {_at('changed_ms', 'changed')}, level, probability, segment, "
            "score_json::JSON AS score",
        ),
        StoreTable(
            "deliveries",
            {
                "endpoint": _TEXT,
                "notification": _TEXT,
                "attempt": _INTEGER,
                "at_ms": _INTEGER,
                "outcome": _TEXT,
                "status": _INTEGER,
                "duration_ms": _NUMBER,
                "error": _TEXT,
            },
            f"endpoint, notification, attempt, {_at('at_ms', 'at')}, outcome, status, duration_ms, error",
            "at_ms",
        ),
    )
}


class StoreReader:
    """Rows of the store, a hundred thousand at once; nothing is ever written.

    Raises the errors of `sinks.errors`.
    """

    def __init__(self, url: str | None, wanted: Range) -> None:
        """`url`: None where there is no store yet; then every table is empty."""
        self._engine: Engine | None = None if url is None else open_database(url, busy_timeout_s=5.0)
        self._wanted = wanted

    def frames(self, table: StoreTable) -> Iterator[pl.DataFrame]:
        """The rows of a table that are in range."""
        if self._engine is None:
            return
        with transaction(self._engine) as connection:
            # A store that nobody has written to yet has no tables.
            there = inspect(connection).has_table("series" if table.name == "points" else table.name)
            if not there:
                return
            query = self._query(table).execution_options(yield_per=_ROWS)
            for rows in connection.execute(query).partitions():
                columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
                yield pl.DataFrame(dict(zip(table.columns, columns, strict=True)), schema=table.columns)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()

    def _query(self, table: StoreTable) -> Select[Any]:
        own = schema.tables.tables[table.name]
        sources = [own]
        query: Select[Any]
        if table.name in ("points", "scores"):
            series = schema.series if table.name == "points" else schema.scored_series
            sources.append(series)
            named = [series.c[name] if name in series.c else own.c[name] for name in table.columns]
            query = select(*named).join_from(own, series)
        else:
            query = select(*(own.c[name] for name in table.columns))
        if table.time is not None:
            if self._wanted.since_ms is not None:
                query = query.where(own.c[table.time] >= self._wanted.since_ms)
            if self._wanted.until_ms is not None:
                query = query.where(own.c[table.time] < self._wanted.until_ms)
        if table.is_of_metric and self._wanted.metrics:
            metric = next(source.c.metric for source in sources if "metric" in source.c)
            query = query.where(metric.in_(self._wanted.metrics))
        return query
