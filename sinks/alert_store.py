"""Alerts, scores and silences in SQL, beside the points of `sinks.store` in the same database."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import and_, delete, exists, func, not_, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from sinks import schema
from sinks.alert_records import Alert, AlertStatus, Scored, Severity, Silence
from sinks.database import insert_into, open_database, transaction
from sinks.errors import Misconfigured
from sinks.prepared import prepare
from sinks.records import Dimensions

KEEP_SCORES_MS = 14 * 86_400_000
"""For how long scores are worth keeping: charts show hours of them, and rules are tuned on days."""

_SERIES_A_PRUNE = 200
_ALERTS_A_PRUNE = 5_000

_alerts = schema.alerts
_series = schema.scored_series
_scores = schema.scores
_silences = schema.silences
_rules = schema.rules


@dataclass(frozen=True, slots=True)
class Watched:
    """What one rule watches over, as the processor last said."""

    at_ms: int
    series: dict[str, int]
    """How many series are `learning`, `ok`, `pending`, `firing`, …"""


class AlertStore:
    """What the API tells about alerts of the past, and draws on charts.

    `url` as for `sinks.store.Store`, and as there: creating one connects to nothing, several threads and processes
    may share a database.

    *Guarantee*: `write` is one transaction of upserts: alerts and silences by id, scores by (rule, dimensions,
    start), rules by name; all of it is committed when it returns. The last write wins, except for alerts: what happens
    to one has a moment, the end of its last strange window or its resolution, and a state of an earlier moment is
    passed over; of the same moment, an open one never replaces one that is acknowledged, nor either of them one that is
    resolved. So a processor that replays after a crash cannot open again what people have seen end.
    *Failure*: as `Store`: `Retryable` or `Misconfigured`, and nothing was written.
    *Cost*: some 20 µs an alert or a score on SQLite, in batches of 100 or more.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0) -> None:
        self._engine = open_database(url, busy_timeout_s=busy_timeout_s)
        self._upsert_alert = _upsert(insert_into(self._engine, _alerts), "id", where=_is_no_older)
        self._upsert_series = _upsert(insert_into(self._engine, _series), "rule", "dimensions", but=("id",)).returning(
            _series.c.id, _series.c.rule, _series.c.dimensions
        )
        self._upsert_score = _upsert(insert_into(self._engine, _scores), "series_id", "start_ms")
        self._upsert_silence = _upsert(insert_into(self._engine, _silences), "id")
        self._upsert_rule = _upsert(insert_into(self._engine, _rules), "rule")

    def setup(self) -> None:
        """Create what is missing and check the schema version; `Misconfigured` for a newer database."""
        prepare(self._engine)

    def write(
        self,
        alerts: Sequence[Alert] = (),
        scored: Sequence[Scored] = (),
        *,
        silences: Sequence[Silence] = (),
        watch: Mapping[str, Mapping[str, int]] | None = None,
        at_ms: int = 0,
    ) -> None:
        """Upsert all of it in one transaction. `watch` is how many series of each rule are in which state, as of
        `at_ms`."""
        rules = [
            {"rule": rule, "at_ms": at_ms, "series_json": json.dumps(dict(series))}
            for rule, series in sorted((watch or {}).items())
        ]
        if not (alerts or scored or silences or rules):
            return
        with transaction(self._engine, write=True) as connection:
            if alerts:
                connection.execute(self._upsert_alert, _latest_rows(alerts))
            if scored:
                connection.execute(self._upsert_score, self._score_rows(connection, scored))
            if silences:
                # PostgreSQL refuses to upsert a row twice in one statement.
                rows = {one.id: _silence_row(one) for one in silences}
                connection.execute(self._upsert_silence, [rows[key] for key in sorted(rows)])
            if rules:
                connection.execute(self._upsert_rule, rules)

    def _score_rows(self, connection: Connection, scored: Sequence[Scored]) -> list[dict[str, Any]]:
        canonical = {one.dimensions: _canonical(one.dimensions) for one in scored}
        series = {
            (one.rule, canonical[one.dimensions]): {
                "rule": one.rule,
                "dimensions": canonical[one.dimensions],
                "metric": one.metric,
                "window": one.window,
                "names": json.dumps([name for name, _ in one.dimensions]),
            }
            for one in scored
        }
        # Sorted, so that two writers cannot wait for each other.
        rows = [series[key] for key in sorted(series)]
        ids = {
            (rule, dimensions): series_id
            for series_id, rule, dimensions in connection.execute(self._upsert_series, rows)
        }
        found: dict[tuple[int, int], dict[str, Any]] = {}
        for one in scored:
            series_id = ids[one.rule, canonical[one.dimensions]]
            found[series_id, one.start_ms] = {
                "series_id": series_id,
                "start_ms": one.start_ms,
                "value": _finite(one.value),
                "score": _bounded(one.score),
                "warm": one.warm,
                "anomalous": one.anomalous,
                "expected": _finite(one.expected),
                "lower": _finite(one.lower),
                "upper": _finite(one.upper),
                "why": _text(one.why),
            }
        return [found[key] for key in sorted(found)]

    def alerts(
        self,
        *,
        status: AlertStatus | None = None,
        active: bool = False,
        rule: str | None = None,
        severity: Severity | None = None,
        since_ms: int | None = None,
        limit: int = 1_000,
        shows: Callable[[Dimensions], bool] | None = None,
    ) -> list[Alert]:
        """Alerts, the latest opened first. `active` keeps those that are not resolved, `since_ms` those in which
        anything has happened at or after it, `shows` those of series with dimensions that it takes."""
        query = select(_alerts.c.state_json)
        if status is not None:
            query = query.where(_alerts.c.status == status.value)
        if active:
            query = query.where(_alerts.c.status != AlertStatus.RESOLVED.value)
        if rule is not None:
            query = query.where(_alerts.c.rule == _text(rule))
        if severity is not None:
            query = query.where(_alerts.c.severity == severity.value)
        if since_ms is not None:
            query = query.where(_alerts.c.at_ms >= since_ms)
        query = query.order_by(_alerts.c.opened_ms.desc(), _alerts.c.id)
        if shows is None:
            query = query.limit(limit)
        with transaction(self._engine) as connection:
            found = (Alert.from_state(orjson.loads(state)) for state in connection.execute(query).scalars())
            return list(islice((one for one in found if shows is None or shows(one.dimensions)), limit))

    def alert(self, id_: str) -> Alert | None:
        """The alert with this id; None where there is none."""
        query = select(_alerts.c.state_json).where(_alerts.c.id == _text(id_))
        with transaction(self._engine) as connection:
            state = connection.execute(query).scalar_one_or_none()
        return None if state is None else Alert.from_state(orjson.loads(state))

    def scores(
        self,
        metric: str,
        window: str,
        *,
        dimensions: Mapping[str, str] | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        limit: int = 10_000,
        shows: Callable[[Dimensions], bool] | None = None,
    ) -> list[Scored]:
        """What rules made of the windows that start in `[from_ms, to_ms)`, by start; the earliest `limit`.

        `dimensions` keeps the series that have each of these values, `shows` those with dimensions that it takes. How
        many events there were is not kept.
        """
        asked = (dimensions or {}).items()
        about = select(_series.c.id, _series.c.rule, _series.c.dimensions, _series.c.names).where(
            _series.c.metric == metric, _series.c.window == window
        )
        with transaction(self._engine) as connection:
            found: dict[int, tuple[str, Dimensions]] = {}
            for series_id, rule, canonical, names in connection.execute(about):
                values = json.loads(canonical)
                if asked <= values.items() and (shows is None or shows(tuple(values.items()))):
                    found[series_id] = rule, tuple((name, values[name]) for name in json.loads(names))
            rows: list[Any] = []
            ids = list(found)
            # SQLite takes only so many parameters.
            for i in range(0, len(ids), _SERIES_A_PRUNE):
                query = select(_scores).where(_scores.c.series_id.in_(ids[i : i + _SERIES_A_PRUNE]))
                if from_ms is not None:
                    query = query.where(_scores.c.start_ms >= from_ms)
                if to_ms is not None:
                    query = query.where(_scores.c.start_ms < to_ms)
                rows.extend(connection.execute(query.order_by(_scores.c.start_ms).limit(limit)))
        rows.sort(key=lambda row: (row.start_ms, found[row.series_id]))
        return [
            Scored(
                rule=found[row.series_id][0],
                metric=metric,
                window=window,
                start_ms=row.start_ms,
                dimensions=found[row.series_id][1],
                value=row.value,
                score=row.score,
                warm=row.warm,
                anomalous=row.anomalous,
                expected=row.expected,
                lower=row.lower,
                upper=row.upper,
                why=row.why,
            )
            for row in rows[:limit]
        ]

    def silences(self, now_ms: int) -> list[Silence]:
        """The silences that have not ended, the next to end first."""
        query = select(_silences).where(_silences.c.until_ms > now_ms).order_by(_silences.c.until_ms, _silences.c.id)
        with transaction(self._engine) as connection:
            return [
                Silence(
                    id=row.id,
                    by=row.made_by,
                    reason=row.reason,
                    made_ms=row.made_ms,
                    until_ms=row.until_ms,
                    rule=row.rule,
                    dimensions=tuple((name, value) for name, value in json.loads(row.dimensions)),
                )
                for row in connection.execute(query)
            ]

    def watched(self) -> dict[str, Watched]:
        """What each rule watches over, by rule; rules that have never been evaluated are left out."""
        with transaction(self._engine) as connection:
            return {
                rule: Watched(at_ms, json.loads(series)) for rule, at_ms, series in connection.execute(select(_rules))
            }

    def prune(self, before_ms: int) -> int:
        """Delete the scores of windows that start before `before_ms`, and series left empty; how many scores.

        Works in several short transactions, so that a writer never waits long.
        """
        with transaction(self._engine) as connection:
            ids = connection.execute(select(_series.c.id)).scalars().all()
        removed = 0
        empty = not_(exists().where(_scores.c.series_id == _series.c.id))
        for i in range(0, len(ids), _SERIES_A_PRUNE):
            some = ids[i : i + _SERIES_A_PRUNE]
            old = delete(_scores).where(_scores.c.series_id.in_(some), _scores.c.start_ms < before_ms)
            with transaction(self._engine, write=True) as connection:
                removed += connection.execute(old).rowcount
            try:
                with transaction(self._engine, write=True) as connection:
                    connection.execute(delete(_series).where(_series.c.id.in_(some), empty))
            except Misconfigured as error:
                # On PostgreSQL, one that was empty has just been written to. It will be looked at again.
                if not isinstance(error.__cause__, IntegrityError):
                    raise
        return removed

    def prune_ended(self, before_ms: int) -> int:
        """Delete the alerts that have ended and of which nothing was heard at or after `before_ms`; how many.

        Works in several short transactions, so that a writer never waits long.
        """
        old = select(_alerts.c.id).where(_has_ended(before_ms)).limit(_ALERTS_A_PRUNE)
        removed = 0
        while True:
            with transaction(self._engine, write=True) as connection:
                found = connection.execute(delete(_alerts).where(_alerts.c.id.in_(old))).rowcount
            removed += found
            if found < _ALERTS_A_PRUNE:
                return removed

    def ended(self, before_ms: int) -> tuple[int, int | None]:
        """What `prune_ended` would delete: how many alerts, and when the oldest was opened."""
        query = select(func.count(), func.min(_alerts.c.opened_ms)).where(_has_ended(before_ms))
        with transaction(self._engine) as connection:
            found, oldest = connection.execute(query).one()
        return found, oldest

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _has_ended(before_ms: int) -> Any:
    return and_(_alerts.c.status == AlertStatus.RESOLVED.value, _alerts.c.at_ms < before_ms)


def _upsert(insert: Any, *key: str, but: Sequence[str] = (), where: Any = None) -> Any:
    new, table = insert.excluded, insert.table
    return insert.on_conflict_do_update(
        index_elements=[table.c[name] for name in key],
        set_={column.name: new[column.name] for column in table.c if column.name not in (*key, *but)},
        where=None if where is None else where(new, table.c),
    )


def _is_no_older(new: Any, old: Any) -> Any:
    return or_(new.at_ms > old.at_ms, and_(new.at_ms == old.at_ms, new.stage >= old.stage))


def _moment(alert: Alert) -> tuple[int, int]:
    """When something last happened to it, and how far it is: 0 open, 1 acknowledged, 2 resolved."""
    if alert.status is AlertStatus.RESOLVED:
        return max(alert.last_seen_ms, alert.resolved_ms or 0), 2
    return alert.last_seen_ms, int(alert.acked_ms is not None)


def _latest_rows(alerts: Iterable[Alert]) -> list[dict[str, Any]]:
    """The row of each alert that would be left had they been written one by one."""
    kept: dict[str, Alert] = {}
    for alert in alerts:
        known = kept.get(alert.id)
        if known is None or _moment(alert) >= _moment(known):
            kept[alert.id] = alert
    rows = []
    for alert in (kept[key] for key in sorted(kept)):
        at_ms, stage = _moment(alert)
        rows.append(
            {
                "id": _text(alert.id),
                "rule": _text(alert.rule),
                "metric": _text(alert.metric),
                "severity": alert.severity.value,
                "status": alert.status.value,
                "opened_ms": alert.opened_ms,
                "last_seen_ms": alert.last_seen_ms,
                "resolved_ms": alert.resolved_ms,
                "at_ms": at_ms,
                "stage": stage,
                # A number that is not finite is none in JSON, and the score of an alert is a number.
                "state_json": orjson.dumps(
                    alert.to_state() | {"score": _bounded(alert.score), "peak": _bounded(alert.peak)}
                ).decode(),
            }
        )
    return rows


def _silence_row(silence: Silence) -> dict[str, Any]:
    return {
        "id": silence.id,
        "rule": None if silence.rule is None else _text(silence.rule),
        "dimensions": json.dumps(silence.dimensions),
        "made_by": _text(silence.by),
        "reason": _text(silence.reason),
        "made_ms": silence.made_ms,
        "until_ms": silence.until_ms,
    }


def _canonical(dimensions: Dimensions) -> str:
    return json.dumps(dict(dimensions), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _text(text: str) -> str:
    """PostgreSQL has no NUL in text."""
    return text.replace("\0", "␀")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _bounded(score: float) -> float:
    """JSON has no infinity; what cannot be stranger is as strange as a number can say."""
    return 0.0 if math.isnan(score) else max(-sys.float_info.max, min(sys.float_info.max, score))
