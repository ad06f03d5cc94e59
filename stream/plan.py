"""What the processor runs, worked out once from a catalog.

Metrics with the same dimensions and limit form a *cube*: they share one index of series and one table of windows,
so that an event is put into its series and window once for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from stream.catalog import RESERVED_PREFIX, Catalog, Metric
from stream.durations import TOTAL, duration_ms, window_ms
from stream.expressions import FieldType, compile_expression, fields_of
from stream.measures.base import Measure
from stream.measures.registry import MEASURES

EVENTS = f"{RESERVED_PREFIX}events"
"""Built-in metric: events that were counted."""
REJECTS = f"{RESERVED_PREFIX}rejects"
"""Built-in metric: events that were refused, by reason."""
BUILTIN: Mapping[str, tuple[str, ...]] = {EVENTS: (), REJECTS: ("reason",)}
"""Their dimensions."""


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """One metric as the shards work it out."""

    name: str
    measure: Measure
    where: int | None
    """Which of the plan's conditions an event must meet; None for all events."""
    value: int | None
    """Which of the plan's values is aggregated; None for measures without one."""
    windows: tuple[str, ...]
    fingerprint: str
    """Changes when the metric means something else; state is kept only under an equal fingerprint."""


@dataclass(frozen=True, slots=True)
class CubePlan:
    """Metrics with the same dimensions and limit."""

    key: str
    by: tuple[str, ...]
    max_series: int
    metrics: tuple[MetricPlan, ...]

    @property
    def widths(self) -> dict[str, int]:
        """Every window of the cube with its width in milliseconds, shortest first."""
        names = {window for metric in self.metrics for window in metric.windows}
        return dict(sorted(((name, window_ms(name)) for name in names), key=lambda item: item[1]))

    def metrics_of(self, window: str) -> tuple[MetricPlan, ...]:
        return tuple(metric for metric in self.metrics if window in metric.windows)


@dataclass(frozen=True, slots=True)
class EventPlan:
    """How an event's envelope is read. Durations in milliseconds."""

    time: str
    person: str | None
    id: str | None
    name: str | None
    default_name: str | None
    required: tuple[str, ...]
    allowed_lateness_ms: int
    out_of_orderness_ms: int
    max_skew_ms: int
    earliest_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A catalog, compiled."""

    streams: tuple[str, ...]
    event: EventPlan
    fields: Mapping[str, FieldType]
    conditions: tuple[pl.Expr, ...]
    values: tuple[pl.Expr, ...]
    cubes: tuple[CubePlan, ...]
    rejects: CubePlan | None
    """Counts refused events; None where the caller reports them itself."""

    @property
    def all_cubes(self) -> tuple[CubePlan, ...]:
        return (*self.cubes, self.rejects) if self.rejects else self.cubes


def compile_plan(catalog: Catalog, *, builtin: bool = True) -> Plan:
    """Compile a validated catalog. `builtin` adds the metrics about the events themselves."""
    metrics = list(catalog.metric)
    event = catalog.event
    if builtin:
        # model_construct: the name is reserved, and refusing it is what validation is for.
        metrics.append(
            Metric.model_construct(name=EVENTS, measure="count", by=[], windows=["10s", "1m", "1h", "1d", TOTAL])
        )
    types = catalog.field_types
    conditions: dict[str, int] = {}
    values: dict[str, int] = {}
    cubes: dict[str, tuple[tuple[str, ...], int, list[MetricPlan]]] = {}
    for metric in metrics:
        planned = _metric(metric, conditions, values, types)
        by = tuple(metric.by)
        # The limit is no part of the key unless it must be: raising it must not make the counts start anew.
        several = len({other.max_series for other in metrics if tuple(other.by) == by}) > 1
        key = f"{','.join(by)}|{metric.max_series}" if several else ",".join(by)
        cubes.setdefault(key, (by, metric.max_series, []))[2].append(planned)
    rejects = Metric.model_construct(
        name=REJECTS, measure="count", by=["reason"], windows=["1m", "1d", TOTAL], max_series=100
    )
    return Plan(
        streams=tuple(catalog.platform.streams),
        event=EventPlan(
            time=event.time,
            person=event.person,
            id=event.id,
            name=event.name,
            default_name=event.default_name,
            required=tuple(event.required),
            allowed_lateness_ms=duration_ms(event.allowed_lateness),
            out_of_orderness_ms=duration_ms(event.out_of_orderness),
            max_skew_ms=duration_ms(event.max_skew),
            earliest_ms=int(datetime.fromisoformat(event.earliest).replace(tzinfo=UTC).timestamp() * 1000),
        ),
        fields=types,
        conditions=tuple(compile_expression(text) for text in conditions),
        values=tuple(compile_expression(text) for text in values),
        cubes=tuple(CubePlan(key, by, max_series, tuple(planned)) for key, (by, max_series, planned) in cubes.items()),
        rejects=CubePlan("streamgauge|rejects", ("reason",), 100, (_metric(rejects, {}, {}, {}),)) if builtin else None,
    )


def _metric(
    metric: Metric, conditions: dict[str, int], values: dict[str, int], types: Mapping[str, FieldType]
) -> MetricPlan:
    expressions = [compile_expression(text) for text in (metric.where, metric.value) if text is not None]
    read = {name for expression in expressions for name in fields_of(expression)} | set(metric.by)
    kinds = sorted((name, types[name].value) for name in read if name in types)
    meaning = repr((metric.measure, metric.where, metric.value, tuple(metric.by), kinds))
    return MetricPlan(
        name=metric.name,
        measure=MEASURES[metric.measure],
        where=None if metric.where is None else conditions.setdefault(metric.where, len(conditions)),
        value=None if metric.value is None else values.setdefault(metric.value, len(values)),
        windows=tuple(metric.windows),
        fingerprint=hashlib.sha256(meaning.encode()).hexdigest()[:16],
    )
