"""What the processor runs, worked out once from a catalog.

Metrics with the same dimensions and limit form a *cube*: they share one index of series and one table of windows,
so that an event is put into its series and window once for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

import polars as pl

from stream.catalog import Catalog
from stream.churn_plan import ChurnPlan, churn_plan
from stream.derived import DERIVED, Derived, derive
from stream.durations import duration_ms
from stream.enrich_plan import EnrichPlan, enrich_plan
from stream.expressions import FieldType, compile_expression, fields_of
from stream.measures.base import Measure, Takes
from stream.measures.registry import make
from stream.measures.retractable import Retractable
from stream.metrics import BUILTIN_METRICS, Metric
from stream.people.declared import declarations, kinds_of, meaning_of
from stream.people.people import DaysPlan, PeoplePlan
from stream.people.periods import FixedDays
from stream.windows import Calendar, Panes, Window, window_of

_ORDERED = frozenset({"first", "last"})
EVENTS, REJECTS = (metric.name for metric in BUILTIN_METRICS)
"""Names of the built-in metrics: events that were counted, and those that were refused, by reason."""


@dataclass(frozen=True, slots=True)
class Expressions:
    """What metrics ask of rows of one kind, each expression once."""

    conditions: tuple[pl.Expr, ...] = ()
    values: tuple[pl.Expr, ...] = ()
    texts: tuple[pl.Expr, ...] = ()


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
    on: str | None = None
    """Which facts about people it counts; None: events."""
    settles_ms: int = 0
    """How long after their end its windows close."""

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
    """Of every event that is counted, and so of those in the archive."""
    enrich: EnrichPlan | None
    """What is worked out of other fields; None: nothing."""
    sampling: Mapping[str, float]
    """Of some streams, the share that is counted."""
    expressions: Mapping[str | None, Expressions]
    """By the kind of facts that they are about; None: events."""
    ordered: bool
    """Whether anything asks for the order of events of the same time."""
    archived: bool
    """Whether the events themselves are kept."""
    people: PeoplePlan | None
    """What is to be known of people; None for catalogs that ask nothing of the kind."""
    churn: ChurnPlan | None
    """Who is likely to leave; None for catalogs that do not ask."""
    cubes: tuple[CubePlan, ...]
    rejects: CubePlan | None
    """Counts refused events; None where the caller reports them itself."""

    @property
    def all_cubes(self) -> tuple[CubePlan, ...]:
        return (*self.cubes, self.rejects) if self.rejects else self.cubes

    @property
    def read(self) -> Mapping[str, FieldType]:
        """The fields that are read of what producers wrote: also those of which others are only worked out."""
        return self.fields if self.enrich is None else {**self.enrich.reads, **self.fields}


def compile_plan(catalog: Catalog, *, builtin: bool = True) -> Plan:
    """Compile a validated catalog. `builtin` adds the metrics about the events themselves."""
    events, rejects = BUILTIN_METRICS
    metrics = [*catalog.metric, events] if builtin else list(catalog.metric)
    event = catalog.event
    types = catalog.field_types
    archived = catalog.archive is not None
    zone = catalog.platform.zone
    asked: dict[str | None, _Asked] = {None: _Asked()}
    kinds = kinds_of(catalog)
    people = _people(catalog) if kinds else None
    meanings = {} if people is None else people.meanings
    cubes: dict[str, tuple[Metric, list[MetricPlan]]] = {}
    for metric in metrics:
        if metric.measure in DERIVED:
            continue
        known = types if metric.on is None else kinds[metric.on].fields
        planned = _metric(metric, asked.setdefault(metric.on, _Asked()), known, zone, meanings)
        by = tuple(metric.by)
        # The limit is no part of the key unless it must be: raising it must not make the counts start anew.
        alike = [m for m in metrics if tuple(m.by) == by and m.on == metric.on and m.measure not in DERIVED]
        several = len({m.max_series for m in alike}) > 1
        key = f"{','.join(by)}|{metric.max_series}" if several else ",".join(by)
        if metric.on is not None:
            key = f"{metric.on}|{key}"
        cubes.setdefault(key, (metric, []))[1].append(planned)
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
        enrich=enrich_plan(catalog),
        sampling=dict(catalog.sampling),
        expressions={kind: one.compiled() for kind, one in asked.items()},
        ordered=bool(kinds) or archived or any(metric.measure in _ORDERED for metric in metrics),
        archived=archived,
        people=people,
        churn=churn_plan(catalog),
        cubes=tuple(
            CubePlan(
                key,
                tuple(first.by),
                first.max_series,
                tuple(planned),
                _derived(metrics, planned),
                first.on,
                0 if first.on is None else kinds[first.on].settles_ms,
            )
            for key, (first, planned) in cubes.items()
        ),
        rejects=CubePlan(
            "streamgauge|rejects", tuple(rejects.by), rejects.max_series, (_metric(rejects, _Asked(), {}, zone),)
        )
        if builtin
        else None,
    )


def planned(plan: Plan, name: str) -> tuple[CubePlan, str]:
    """The cube of a metric, and what changes when it means something else."""
    for cube in plan.all_cubes:
        fingerprints = {metric.name: metric.fingerprint for metric in cube.metrics}
        fingerprints |= {derived.name: derived.fingerprint for derived in cube.derived}
        if name in fingerprints:
            return cube, fingerprints[name]
    raise KeyError(name)


@dataclass(slots=True)
class _Asked:
    """The expressions over rows of one kind, numbered in the order in which they were asked for."""

    conditions: dict[str, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)
    texts: dict[str, int] = field(default_factory=dict)

    def compiled(self) -> Expressions:
        conditions, values, texts = (
            tuple(compile_expression(text) for text in one) for one in (self.conditions, self.values, self.texts)
        )
        return Expressions(conditions, values, texts)


def _people(catalog: Catalog) -> PeoplePlan:
    assert catalog.event.person is not None, "the catalog was checked"
    zone, lateness_ms = catalog.platform.zone, duration_ms(catalog.event.allowed_lateness)
    return PeoplePlan(
        person=catalog.event.person,
        zone=zone,
        declared=tuple((f"{name}#{meaning_of(one, zone)}", one) for name, one in declarations(catalog)),
        lateness_ms=lateness_ms,
        most_a_day=catalog.people.most_events_a_day,
        named=catalog.event.name,
        page=None if catalog.sessions is None else catalog.sessions.page,
        keeps_events=catalog.people.timeline is not None,
        days=None if catalog.churn is None else DaysPlan(FixedDays(zone), catalog.churn.settle_ms(lateness_ms)),
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
    asked: _Asked,
    types: Mapping[str, FieldType],
    zone: ZoneInfo,
    meanings: Mapping[str, str] = MappingProxyType({}),
) -> MetricPlan:
    """`meanings` has what the kinds of facts about people mean."""
    expressions = [compile_expression(text) for text in (metric.where, metric.value) if text is not None]
    read = {name for expression in expressions for name in fields_of(expression)} | set(metric.by)
    kinds = sorted((name, types[name].value) for name in read if name in types)
    measure = make(metric.measure, metric.options, has_value=metric.value is not None)
    if metric.on is not None:
        measure = Retractable(measure)
    options = sorted((name, getattr(metric.options, name)) for name in measure.options)
    calendar = zone.key if any(isinstance(window_of(text, zone).panes, Calendar) for text in metric.windows) else ""
    meaning = repr((metric.measure, metric.where, metric.value, tuple(metric.by), kinds, options, calendar))
    if metric.on is not None:
        meaning = f"{metric.on} {meanings.get(metric.on)}: {meaning}"
    is_text = measure.takes is Takes.TEXT
    return MetricPlan(
        name=metric.name,
        measure=measure,
        where=None if metric.where is None else asked.conditions.setdefault(metric.where, len(asked.conditions)),
        value=None if metric.value is None or is_text else asked.values.setdefault(metric.value, len(asked.values)),
        text=None if metric.value is None or not is_text else asked.texts.setdefault(metric.value, len(asked.texts)),
        windows=tuple(window_of(text, zone) for text in metric.windows),
        fingerprint=_fingerprint(meaning),
    )


def _fingerprint(meaning: str) -> str:
    return hashlib.sha256(meaning.encode()).hexdigest()[:16]
