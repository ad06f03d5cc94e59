"""The same numbers worked out another way: one Polars batch over the raw events.

Nothing of the processor takes part except the catalog itself. A measure is one line in `_AGGREGATES`, a kind of
window one in `window_starts`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from sinks.records import Dimensions, Point
from stream.catalog import Catalog
from stream.durations import duration_ms
from stream.metrics import Metric

Key = tuple[str, str, int, Dimensions]
"""(metric, window, start_ms, dimensions)."""

_DTYPES = {"string": pl.String(), "number": pl.Float64(), "boolean": pl.Boolean()}
_TIME, _START, _END, _VALUE, _COUNT = "@time", "@start", "@end", "@value", "@count"
_ORDER = "@order"
_AGGREGATES: Mapping[str, Callable[[pl.Expr], pl.Expr]] = {
    "count": pl.Expr.len,
    "sum": pl.Expr.sum,
    "mean": pl.Expr.mean,
    "min": pl.Expr.min,
    "max": pl.Expr.max,
    "rate": pl.Expr.sum,
    "first": lambda values: values.sort_by(_TIME, _ORDER).first(),
    "last": lambda values: values.sort_by(_TIME, _ORDER).last(),
    "distinct": pl.Expr.n_unique,
    "quantile": pl.Expr.sort,
    "top_k": lambda values: values,
}
_TEXTS = frozenset({"distinct", "top_k"})
EXACT = frozenset({"count", "min", "max", "first", "last", "distinct", "top_k"})
"""Measures whose results may not differ in a single bit."""
QUANTILE_ERROR = 0.0101
_TRUNCATE = {"hour": "1h", "day": "1d", "week": "1w", "month": "1mo"}
Expected = tuple[Any, int]
"""(value, count)."""


def batch_points(catalog: Catalog, events: Sequence[Mapping[str, Any]]) -> dict[Key, Expected]:
    """(value, count) of every metric, window and series of `catalog` over `events`, all of them honest.

    An event's time is ISO 8601 with an offset, or epoch milliseconds; those of one time are in the order of their
    entries. `max_series` is not applied.
    """
    types = {name: kind.value for name, kind in catalog.field_types.items()}
    frame = pl.DataFrame(
        {name: [_typed(_field(event, name), kind) for event in events] for name, kind in types.items()}
        | {_TIME: [_time_ms(_field(event, catalog.event.time)) for event in events], _ORDER: range(len(events))},
        schema={name: _DTYPES[kind] for name, kind in types.items()} | {_TIME: pl.Int64(), _ORDER: pl.Int64()},
    )
    points: dict[Key, Expected] = {}
    for metric in catalog.metric:
        if metric.measure in ("ratio", "expr"):
            continue
        rows = _rows(metric, frame)
        for window in metric.windows:
            names = [f"@{number}" for number in range(len(metric.by))]
            grouped = (
                window_starts(rows, window, catalog.platform.timezone)
                .group_by(_START, _END, *names)
                .agg(_AGGREGATES[metric.measure](pl.col(_VALUE)).alias("@result"), pl.len().alias(_COUNT))
            )
            for row in grouped.iter_rows(named=True):
                dimensions = tuple(zip(metric.by, (row[name] for name in names), strict=True))
                value = _value(metric, row["@result"], (row[_END] - row[_START]) / 1_000)
                points[metric.name, window, row[_START], dimensions] = (value, row[_COUNT])
    for metric in catalog.metric:
        if metric.measure in ("ratio", "expr"):
            points |= _worked_out(catalog, metric, points)
    return points


def _value(metric: Metric, result: Any, seconds: float) -> Any:
    if metric.measure == "rate":
        return result / seconds
    if metric.measure == "quantile":
        return {f"p{q * 100:g}": result[math.floor(q * (len(result) - 1))] for q in metric.quantiles}
    if metric.measure == "top_k":
        ranked = sorted(Counter(result).items(), key=lambda item: (-item[1], item[0]))
        return dict(ranked[: metric.k])
    return result


def _worked_out(catalog: Catalog, metric: Metric, points: Mapping[Key, Expected]) -> dict[Key, Expected]:
    """A ratio or an expression over the points of other metrics."""
    text = f"{metric.of} / {metric.to}" if metric.measure == "ratio" else str(metric.value)
    expression = pl.sql_expr(text)
    names = list(dict.fromkeys(expression.meta.root_names()))
    measures = {one.name: one.measure for one in catalog.metric}
    places = list({key[1:]: None for key in points if key[0] in names and key[1] in metric.windows})
    found = [[points.get((name, *place)) for place in places] for name in names]
    columns = {
        name: [
            (0.0 if measures[name] in ("count", "sum", "rate", "distinct") else None) if one is None else float(one[0])
            for one in column
        ]
        for name, column in zip(names, found, strict=True)
    }
    frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.Float64()))
    values = frame.select(
        pl.when(pl.all_horizontal(pl.col(names).is_not_null())).then(expression.cast(pl.Float64))
    ).to_series()
    return {
        (metric.name, *place): (value, max(0 if one is None else one[1] for one in parts))
        for place, value, parts in zip(places, values.to_list(), zip(*found, strict=True), strict=True)
        if value is not None and math.isfinite(value)
    }


def window_starts(rows: pl.DataFrame, window: str, zone: str) -> pl.DataFrame:
    """`rows` with start and end of the window each falls into: once for each of the windows that slide over it."""
    width, slides, every = window.partition("/")
    pane = every or window
    local = pl.from_epoch(_TIME, time_unit="ms").dt.replace_time_zone("UTC")
    if pane in _TRUNCATE:
        local = local.dt.convert_time_zone(zone)
    step = _TRUNCATE.get(pane, pane)
    start = local.dt.truncate(step)
    if not slides:
        return rows.with_columns(start.alias(_START)).with_columns(
            pl.col(_START).dt.epoch("ms"), pl.col(_START).dt.offset_by(step).dt.epoch("ms").alias(_END)
        )
    span = duration_ms(width) // duration_ms(step)
    unit, number = step[-1], int(step[:-1])
    return pl.concat(
        [
            rows.with_columns(
                start.dt.offset_by(f"-{back * number}{unit}").dt.epoch("ms").alias(_START),
                start.dt.offset_by(f"{(span - back) * number}{unit}").dt.epoch("ms").alias(_END),
            )
            for back in range(span)
        ]
    )


def last_of_each(points: Iterable[Point]) -> dict[Key, Point]:
    """What somebody who upserts every point ends up with."""
    return {(point.metric, point.window, point.start_ms, point.dimensions): point for point in points}


def differences(
    catalog: Catalog, points: Iterable[Point], events: Sequence[Mapping[str, Any]], *, relative: float = 1e-9
) -> list[str]:
    """How the last of `points` differ from the oracle, in words; the processor's own metrics are left out.

    Whole numbers must be equal, floats that were added up within `relative`, estimates within what is stated.
    """
    return differences_to(catalog, batch_points(catalog, events), points, relative=relative)


def differences_to(
    catalog: Catalog, expected: Mapping[Key, Expected], points: Iterable[Point], *, relative: float = 1e-9
) -> list[str]:
    """As `differences`, for who has the oracle's points already."""
    measures = {metric.name: metric.measure for metric in catalog.metric}
    found = {key: point for key, point in last_of_each(points).items() if key[0] in measures}
    result = [f"missing: {key} {expected[key]}" for key in expected.keys() - found.keys()]
    result += [f"unexpected: {found[key]}" for key in found.keys() - expected.keys()]
    for key in expected.keys() & found.keys():
        value, count = expected[key]
        point = found[key]
        if not _same(measures[key[0]], value, point, relative) or point.count != count:
            result.append(f"{key}: expected {value} of {count}, found {point.value} of {point.count}")
    return sorted(result)


def _same(measure: str, expected: Any, point: Point, relative: float) -> bool:
    found: Any = point.value
    if measure == "quantile":
        return expected.keys() == found.keys() and all(
            math.isclose(expected[key], found[key], rel_tol=QUANTILE_ERROR, abs_tol=1e-9) for key in expected
        )
    if measure == "distinct" and point.error is not None:
        # The error is a standard error: five times that is passed by one estimate in a million.
        return math.isclose(found, expected, rel_tol=5 * point.error)
    if measure in EXACT or (measure == "sum" and float(expected).is_integer()):
        return bool(expected == found)
    return math.isclose(found, expected, rel_tol=relative)


def _rows(metric: Metric, frame: pl.DataFrame) -> pl.DataFrame:
    """The events that count for `metric`, with their values and dimension texts."""
    if metric.where is not None:
        frame = frame.filter(pl.sql_expr(metric.where))
    if metric.measure in _TEXTS:
        frame = frame.with_columns(pl.sql_expr(str(metric.value)).cast(pl.String).alias(_VALUE))
        frame = frame.filter(pl.col(_VALUE) != "")
    else:
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
