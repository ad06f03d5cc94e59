"""The closed windows of simulated weeks, as final points: what the rules of a catalog watch, worked out of rows.

A week of the simulator is millions of events, and as JSON through the processor it takes an hour. Here one Polars batch
evaluates the catalog's own expressions over a day at a time; a test holds it to what the processor makes of the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from sinks.records import Dimensions, Point, State
from stream.alerts import Alerts, Outcome
from stream.catalog import Catalog
from stream.derived import DERIVED, ZERO_WITHOUT_EVENTS, derive
from stream.expressions import compile_expression, fields_of
from stream.metrics import Metric
from stream.plan import compile_plan
from stream.score import Scorer, lifecycles, watches
from stream.windows import Fixed, Window, window_of
from streamgauge.demo.food_sharing import FoodSharing
from streamgauge.demo.population import COMMUNITIES, PLATFORMS
from streamgauge.demo.rows import (
    API_CALL,
    CATEGORIES,
    CLAIM,
    ENDPOINTS,
    EVENTS,
    NOTHING,
    PAGE_VIEW,
    PAGES,
    PICKUP,
    POST,
    RATING,
    ROW,
    Rows,
    join,
)

HOUR_MS = 3_600_000
_TIME, _START, _VALUE = "@time", "@start", "@value"
_FOOD = (POST, CLAIM, PICKUP)
_CODES = {
    "event": ("kind", EVENTS, range(len(EVENTS))),
    "community": ("community", COMMUNITIES, range(len(EVENTS))),
    "platform": ("platform", PLATFORMS, range(len(EVENTS))),
    "endpoint": ("endpoint", ENDPOINTS, (API_CALL,)),
    "page": ("page", PAGES, (PAGE_VIEW,)),
    "category": ("category", CATEGORIES, (*_FOOD, RATING)),
}
"""Field → column of the rows, what its codes stand for, and the kinds of events that have it."""
_NUMBERS = {
    "status": ("status", 1, (API_CALL,)),
    "duration_ms": ("duration_us", 1_000, (API_CALL,)),
    "rating": ("rating", 1, (RATING,)),
    "portions": ("portions", 1, _FOOD),
    "weight_kg": ("grams", 1_000, _FOOD),
}
"""Field → column of the rows, by what it is divided, and the kinds of events that have it."""
_KEYS = {"user_id": "person", "session_id": "session"}
"""Field → column of the rows, where 0 is nobody. They stay numbers: all that is asked is whether two are the same."""


def frame_of(rows: Rows, fields: Iterable[str]) -> pl.DataFrame:
    """These fields of the events that the rows stand for, and their time as `@time`."""
    columns = {_TIME: pl.Series(rows["time"])}
    for name in fields:
        if name in _KEYS:
            keys = pl.Series(rows[_KEYS[name]])
            columns[name] = keys.set(keys == 0, None)
            continue
        kinds = _CODES[name][2] if name in _CODES else _NUMBERS[name][2]
        has = np.isin(rows["kind"], list(kinds))
        if name in _CODES:
            codes = rows[_CODES[name][0]]
            has &= codes != NOTHING
            # Numbers beyond the names are none of them.
            column = pl.Series(np.where(has, codes, 0)).cat.to(pl.Enum(_CODES[name][1]))
        else:
            source, divisor, _ = _NUMBERS[name]
            column = pl.Series(rows[source] / divisor)
        columns[name] = column.set(pl.Series(~has), None)
    return pl.DataFrame(columns)


class ClosedWindows:
    """What a catalog's rules watch, window by window, as time goes on over one simulator after another.

    Events are never late and always there. Only windows of fixed panes, and measures of one number or quantiles.
    """

    def __init__(self, catalog: Catalog, start_ms: int) -> None:
        self._metrics = {metric.name: metric for metric in catalog.metric}
        wanted = dict.fromkeys((rule.metric, rule.window) for rule in catalog.anomaly)
        parts = [(name, window) for metric, window in wanted for name in self._inputs(metric)]
        self._counted = {(name, text): window_of(text, catalog.platform.zone) for name, text in parts}
        self._wanted = wanted
        self._behind_ms = max(window.about_ms for window in self._counted.values())
        texts = [self._metrics[name].where for name, _ in parts] + [self._metrics[name].value for name, _ in parts]
        read = [field for text in texts if text is not None for field in fields_of(compile_expression(text))]
        self._fields = list(dict.fromkeys([*read, *(field for name, _ in parts for field in self._metrics[name].by)]))
        self._now_ms = start_ms
        self._rows = np.zeros(0, ROW)

    def _inputs(self, name: str) -> Sequence[str]:
        metric = self._metrics[name]
        return derive(metric).inputs if metric.measure in DERIVED else (name,)

    def to(self, end_ms: int, simulator: FoodSharing) -> list[Point]:
        """The points of all windows that end from the last call's `end_ms`, which is excluded, to this one."""
        kept = self._rows[self._rows["time"] >= self._now_ms - self._behind_ms]
        self._rows = join([kept.copy(), simulator.rows_between(self._now_ms, end_ms)])
        frame = frame_of(self._rows, self._fields)
        counted = {
            (name, text): _count(self._metrics[name], window, frame, self._now_ms, end_ms)
            for (name, text), window in self._counted.items()
        }
        points = [
            point for name, text in self._wanted for point in self._points(self._metrics[name], text, counted, end_ms)
        ]
        self._now_ms = end_ms
        return points

    def _points(
        self, metric: Metric, text: str, counted: Mapping[tuple[str, str], pl.DataFrame], now_ms: int
    ) -> Iterator[Point]:
        table = self._derived(metric, text, counted) if metric.measure in DERIVED else counted[metric.name, text]
        for start_ms, value, events, *keys in table.select(_START, _VALUE, "@events", *metric.by).iter_rows():
            dimensions: Dimensions = tuple(zip(metric.by, keys, strict=True))
            yield Point(metric.name, text, start_ms, dimensions, value, events, State.FINAL, 1, now_ms)

    def _derived(self, metric: Metric, text: str, counted: Mapping[tuple[str, str], pl.DataFrame]) -> pl.DataFrame:
        derived = derive(metric)
        keys = [_START, *metric.by]
        table = pl.concat([counted[name, text].select(keys) for name in derived.inputs]).unique()
        for name in derived.inputs:
            found = counted[name, text].select(*keys, pl.col(_VALUE).alias(name), pl.col("@events").alias(f"@{name}"))
            table = table.join(found, on=keys, how="left")
            if self._metrics[name].measure in ZERO_WITHOUT_EVENTS:
                table = table.with_columns(pl.col(name).fill_null(0))
        values = derived.compute(
            [table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in derived.inputs]
        )
        events = pl.max_horizontal(pl.col(f"@{name}").fill_null(0) for name in derived.inputs)
        table = table.with_columns(pl.Series(_VALUE, values), events.alias("@events"))
        return table.filter(pl.col(_VALUE).is_finite())


def _count(metric: Metric, window: Window, frame: pl.DataFrame, after_ms: int, to_ms: int) -> pl.DataFrame:
    """One metric in one of its windows: `@start`, dimensions, `@value`, `@events`, for windows that end in between."""
    assert isinstance(window.panes, Fixed)
    step_ms = window.panes.width_ms
    rows = frame.lazy()
    if metric.where is not None:
        rows = rows.filter(compile_expression(metric.where))
    rows = rows.select(
        (pl.col(_TIME) // step_ms * step_ms).alias(_START),
        *(pl.col(name).cast(pl.String).fill_null("__none__") for name in metric.by),
        (pl.lit(1) if metric.value is None else compile_expression(metric.value)).alias(_VALUE),
    ).filter(pl.col(_VALUE).is_not_null())
    # Once for each of the windows that slide over it.
    rows = pl.concat([rows.with_columns(pl.col(_START) - back * step_ms) for back in range(window.span)])
    ends = pl.col(_START) + step_ms * window.span
    rows = rows.filter((ends > after_ms) & (ends <= to_ms))
    found = rows.group_by(_START, *metric.by).agg(_aggregate(metric).alias(_VALUE), pl.len().alias("@events"))
    return found.sort(_START, *metric.by).collect()


def _aggregate(metric: Metric) -> pl.Expr:
    value = pl.col(_VALUE)
    plain = {"count": pl.len(), "sum": value.sum(), "mean": value.mean(), "min": value.min(), "max": value.max()}
    if metric.measure == "quantile":
        return pl.struct(value.quantile(q, "lower").alias(f"p{q * 100:g}") for q in metric.quantiles)
    return value.n_unique() if metric.measure == "distinct" else plain[metric.measure]


class Watched:
    """The rules of a catalog over closed windows, wired as in `stream.flow`, with every source equally far."""

    def __init__(self, catalog: Catalog) -> None:
        by_cube = watches(catalog, compile_plan(catalog))
        self.rules = lifecycles(by_cube, catalog)
        self._scorers = {cube: Scorer(cube, watched) for cube, watched in by_cube.items()}
        self._alerts = Alerts(self.rules, by_cube, catalog.platform.name)
        self.watches = [watch for watched in by_cube.values() for watch in watched]
        self._widths_ms = {watch.path.window.name: watch.path.window.about_ms for watch in self.watches}
        self.series: dict[str, set[Dimensions]] = {name: set() for name in self.rules}
        """Those that each rule has watched."""

    def through(self, points: Iterable[Point], start_ms: int, end_ms: int) -> Iterator[Outcome]:
        """Judge the windows that end in `start_ms` < t ≤ `end_ms`, hour by hour, with a clock that is never behind.

        People are not told of what was more than an hour ago, so they would not be told of a day at once.
        """
        by_hour: dict[int, list[Point]] = {}
        for point in points:
            ended_ms = point.start_ms + self._widths_ms[point.window]
            by_hour.setdefault(-(-(ended_ms - start_ms) // HOUR_MS), []).append(point)
        for number, now_ms in enumerate(range(start_ms + HOUR_MS, end_ms + HOUR_MS, HOUR_MS), 1):
            yield self._take(by_hour.get(number, []), min(now_ms, end_ms))

    def _take(self, points: Sequence[Point], now_ms: int) -> Outcome:
        for scorer in self._scorers.values():
            batch = scorer.take(points, now_ms)
            for _, row in batch.rows:
                self.series[row.rule].add(row.dimensions)
            self._alerts.add(batch)
        return self._alerts.advance(now_ms)
