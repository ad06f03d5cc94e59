"""What the processor runs, worked out once from a catalog.

Metrics with the same dimensions and limit form a *cube*: they share one index of series and one table of windows,
so that an event is put into its series and window once for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import polars as pl

from stream.catalog import BUILTIN_METRICS, Catalog, Metric
from stream.derived import DERIVED, Derived, derive
from stream.durations import duration_ms
from stream.expressions import FieldType, compile_expression, fields_of
from stream.measures.base import Measure, Takes
from stream.measures.registry import make
from stream.windows import Calendar, Panes, Window, window_of

_ORDERED = frozenset({"first", "last"})
EVENTS, REJECTS = (metric.name for metric in BUILTIN_METRICS)
"""Names of the built-in metrics: events that were counted, and those that were refused, by reason."""
BUILTIN: Mapping[str, tuple[str, ...]] = {metric.name: tuple(metric.by) for metric in BUILTIN_METRICS}
"""Their dimensions."""


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """One metric as the shards work it out."""

    name: str
    measure: Measure
    where: int | None
    """Which of the plan's conditions an event must meet; None for all events."""
    value: int | None
    """Which of the plan's values is aggregated; None for measures that take no numbers."""
    text: int | None
    """Which of the plan's texts is aggregated; None for measures that take no texts."""
    windows: tuple[Window, ...]
    fingerprint: str
    """Changes when the metric means something else; state is kept only under an equal fingerprint."""

    @property
    def panes(self) -> frozenset[str]:
        """The kinds of panes it needs."""
        return frozenset(window.panes_name for window in self.windows)


@dataclass(frozen=True, slots=True)
class DerivedPlan:
    """One metric that is worked out of others of its cube."""

    name: str
    derived: Derived
    inputs: tuple[int, ...]
    """Places of those others among the cube's metrics."""
    windows: tuple[Window, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class CubePlan:
    """Metrics with the same dimensions and limit."""

    key: str
    by: tuple[str, ...]
    max_series: int
    metrics: tuple[MetricPlan, ...]
    derived: tuple[DerivedPlan, ...] = ()

    @property
    def names(self) -> str:
        """Its metrics, for people."""
        return ", ".join(metric.name for metric in self.metrics)

    @property
    def windows(self) -> list[Window]:
        """Every window of the cube, shortest first."""
        found = {window.name: window for metric in self.metrics for window in metric.windows}
        return sorted(found.values(), key=lambda window: window.about_ms)

    @property
    def divisions(self) -> dict[str, Panes]:
        """The kinds of panes its windows are made of, by name."""
        return {window.panes_name: window.panes for window in self.windows}

    def metrics_in(self, panes: str) -> tuple[MetricPlan, ...]:
        """The metrics that need such panes."""
        return tuple(metric for metric in self.metrics if panes in metric.panes)


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
    dedupe_ms: int
    """For how long an event is remembered; 0: not at all."""
    earliest_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A catalog, compiled."""

    streams: tuple[str, ...]
    event: EventPlan
    fields: Mapping[str, FieldType]
    conditions: tuple[pl.Expr, ...]
    values: tuple[pl.Expr, ...]
    texts: tuple[pl.Expr, ...]
    ordered: bool
    """Whether any measure asks for the order of events of the same time."""
    cubes: tuple[CubePlan, ...]
    rejects: CubePlan | None
    """Counts refused events; None where the caller reports them itself."""

    @property
    def all_cubes(self) -> tuple[CubePlan, ...]:
        return (*self.cubes, self.rejects) if self.rejects else self.cubes


def compile_plan(catalog: Catalog, *, builtin: bool = True) -> Plan:
    """Compile a validated catalog. `builtin` adds the metrics about the events themselves."""
    events, rejects = BUILTIN_METRICS
    metrics = [*catalog.metric, events] if builtin else list(catalog.metric)
    event = catalog.event
    types = catalog.field_types
    zone = catalog.platform.zone
    conditions: dict[str, int] = {}
    values: dict[str, int] = {}
    texts: dict[str, int] = {}
    cubes: dict[str, tuple[tuple[str, ...], int, list[MetricPlan]]] = {}
    for metric in metrics:
        if metric.measure in DERIVED:
            continue
        planned = _metric(metric, conditions, values, texts, types, zone)
        by = tuple(metric.by)
        # The limit is no part of the key unless it must be: raising it must not make the counts start anew.
        several = len({m.max_series for m in metrics if tuple(m.by) == by and m.measure not in DERIVED}) > 1
        key = f"{','.join(by)}|{metric.max_series}" if several else ",".join(by)
        cubes.setdefault(key, (by, metric.max_series, []))[2].append(planned)
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
            dedupe_ms=0 if event.dedupe_window == "off" else duration_ms(event.dedupe_window),
            earliest_ms=int(datetime.fromisoformat(event.earliest).replace(tzinfo=UTC).timestamp() * 1000),
        ),
        fields=types,
        conditions=tuple(compile_expression(text) for text in conditions),
        values=tuple(compile_expression(text) for text in values),
        texts=tuple(compile_expression(text) for text in texts),
        ordered=any(metric.measure in _ORDERED for metric in metrics),
        cubes=tuple(
            CubePlan(key, by, max_series, tuple(planned), _derived(metrics, planned))
            for key, (by, max_series, planned) in cubes.items()
        ),
        rejects=CubePlan(
            "streamgauge|rejects", tuple(rejects.by), rejects.max_series, (_metric(rejects, {}, {}, {}, {}, zone),)
        )
        if builtin
        else None,
    )


def _derived(metrics: list[Metric], planned: list[MetricPlan]) -> tuple[DerivedPlan, ...]:
    """The derived metrics over those of one cube."""
    place = {metric.name: number for number, metric in enumerate(planned)}
    result: list[DerivedPlan] = []
    for metric in metrics:
        if metric.measure not in DERIVED:
            continue
        derived = derive(metric)
        if derived.inputs[0] in place:
            inputs = tuple(place[name] for name in derived.inputs)
            common = set.intersection(*({window.name for window in planned[number].windows} for number in inputs))
            windows = tuple(window for window in planned[inputs[0]].windows if window.name in common)
            meaning = repr((metric.measure, metric.value, [planned[number].fingerprint for number in inputs]))
            result.append(DerivedPlan(metric.name, derived, inputs, windows, _fingerprint(meaning)))
    return tuple(result)


def _metric(
    metric: Metric,
    conditions: dict[str, int],
    values: dict[str, int],
    texts: dict[str, int],
    types: Mapping[str, FieldType],
    zone: ZoneInfo,
) -> MetricPlan:
    expressions = [compile_expression(text) for text in (metric.where, metric.value) if text is not None]
    read = {name for expression in expressions for name in fields_of(expression)} | set(metric.by)
    kinds = sorted((name, types[name].value) for name in read if name in types)
    measure = make(metric.measure, metric.options, has_value=metric.value is not None)
    options = sorted((name, getattr(metric.options, name)) for name in measure.options)
    calendar = zone.key if any(isinstance(window_of(text, zone).panes, Calendar) for text in metric.windows) else ""
    meaning = repr((metric.measure, metric.where, metric.value, tuple(metric.by), kinds, options, calendar))
    is_text = measure.takes is Takes.TEXT
    return MetricPlan(
        name=metric.name,
        measure=measure,
        where=None if metric.where is None else conditions.setdefault(metric.where, len(conditions)),
        value=None if metric.value is None or is_text else values.setdefault(metric.value, len(values)),
        text=None if metric.value is None or not is_text else texts.setdefault(metric.value, len(texts)),
        windows=tuple(window_of(text, zone) for text in metric.windows),
        fingerprint=_fingerprint(meaning),
    )


def _fingerprint(meaning: str) -> str:
    return hashlib.sha256(meaning.encode()).hexdigest()[:16]
