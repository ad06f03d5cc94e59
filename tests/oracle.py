"""The same numbers worked out another way: one Polars batch over the raw events.

Nothing of the processor takes part except the catalog itself. A measure is one line in `_AGGREGATES`, a kind of
window one in `window_starts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from sinks.records import Dimensions, Point
from stream.catalog import Catalog, Metric

Key = tuple[str, str, int, Dimensions]
"""(metric, window, start_ms, dimensions)."""

_DTYPES = {"string": pl.String(), "number": pl.Float64(), "boolean": pl.Boolean()}
_TIME, _START, _VALUE, _COUNT = "@time", "@start", "@value", "@count"
_AGGREGATES: Mapping[str, Callable[[pl.Expr], pl.Expr]] = {
    "count": pl.Expr.len,
    "sum": pl.Expr.sum,
    "mean": pl.Expr.mean,
    "min": pl.Expr.min,
    "max": pl.Expr.max,
}
EXACT = frozenset({"count", "min", "max"})
"""Measures whose float results may not differ in a single bit."""


def batch_points(catalog: Catalog, events: Sequence[Mapping[str, Any]]) -> dict[Key, tuple[float, int]]:
    """(value, count) of every metric, window and series of `catalog` over `events`, all of them honest.

    An event's time is ISO 8601 with an offset, or epoch milliseconds. `max_series` is not applied.
    """
    types = {name: kind.value for name, kind in catalog.field_types.items()}
    frame = pl.DataFrame(
        {name: [_typed(_field(event, name), kind) for event in events] for name, kind in types.items()}
        | {_TIME: [_time_ms(_field(event, catalog.event.time)) for event in events]},
        schema={name: _DTYPES[kind] for name, kind in types.items()} | {_TIME: pl.Int64()},
    )
    points: dict[Key, tuple[float, int]] = {}
    for metric in catalog.metric:
        rows = _rows(metric, frame)
        for window in metric.windows:
            names = [f"@{number}" for number in range(len(metric.by))]
            grouped = (
                window_starts(rows, window)
                .group_by(_START, *names)
                .agg(_AGGREGATES[metric.measure](pl.col(_VALUE)).alias("@result"), pl.len().alias(_COUNT))
            )
            for row in grouped.iter_rows(named=True):
                dimensions = tuple(zip(metric.by, (row[name] for name in names), strict=True))
                points[metric.name, window, row[_START], dimensions] = (row["@result"], row[_COUNT])
    return points


def window_starts(rows: pl.DataFrame, window: str) -> pl.DataFrame:
    """`rows` with the start of the window each falls into; a sliding window would give a row several times."""
    start = pl.from_epoch(_TIME, time_unit="ms").dt.truncate(window).dt.epoch("ms")
    return rows.with_columns(start.alias(_START))


def last_of_each(points: Iterable[Point]) -> dict[Key, Point]:
    """What somebody who upserts every point ends up with."""
    return {(point.metric, point.window, point.start_ms, point.dimensions): point for point in points}


def differences(
    catalog: Catalog, points: Iterable[Point], events: Sequence[Mapping[str, Any]], *, relative: float = 1e-9
) -> list[str]:
    """How the last of `points` differ from the oracle, in words; the processor's own metrics are left out.

    Whole numbers must be equal, floats that were added up within `relative`.
    """
    measures = {metric.name: metric.measure for metric in catalog.metric}
    expected = batch_points(catalog, events)
    found = {key: point for key, point in last_of_each(points).items() if key[0] in measures}
    result = [f"missing: {key} {expected[key]}" for key in expected.keys() - found.keys()]
    result += [f"unexpected: {found[key]}" for key in found.keys() - expected.keys()]
    for key in expected.keys() & found.keys():
        value, count = expected[key]
        point = found[key]
        assert isinstance(point.value, int | float)
        exact = measures[key[0]] in EXACT or (measures[key[0]] == "sum" and float(value).is_integer())
        same = point.value == value if exact else math.isclose(point.value, value, rel_tol=relative)
        if not same or point.count != count:
            result.append(f"{key}: expected {value} of {count}, found {point.value} of {point.count}")
    return sorted(result)


def _rows(metric: Metric, frame: pl.DataFrame) -> pl.DataFrame:
    """The events that count for `metric`, with their values and dimension texts."""
    if metric.where is not None:
        frame = frame.filter(pl.sql_expr(metric.where))
    value = pl.lit(1.0) if metric.value is None else pl.sql_expr(metric.value).cast(pl.Float64)
    frame = frame.with_columns(value.alias(_VALUE)).filter(pl.col(_VALUE).is_finite())
    texts = {f"@{number}": _label(pl.col(name)) for number, name in enumerate(metric.by)}
    return frame.with_columns(**texts)


def _label(column: pl.Expr) -> pl.Expr:
    text = column.cast(pl.String).str.head(256).str.replace(r"^(-?\d+)\.0$", "$1")
    return pl.when(text.is_null() | (text == "")).then(pl.lit("__none__")).otherwise(text)


def _field(event: Mapping[str, Any], name: str) -> Any:
    value: Any = event
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _typed(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "string":
        return str(value).lower() if isinstance(value, bool) else str(value)
    return float(value) if kind == "number" else bool(value)


def _time_ms(value: Any) -> int:
    if isinstance(value, int):
        return value
    when = datetime.fromisoformat(value).astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (when.days * 86_400 + when.seconds) * 1_000 + when.microseconds // 1_000
