"""Metrics of the past, worked out again over the archive with the processor's own classes.

The archive is read in order of time, a stretch after the other, and time goes on with it: so windows close as they do
live, and no more is held than what is open. What was read and what was left out is said in `Job.notes`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sinks.records import Point, State, iso
from sinks.store import Store
from stream.archived import (
    ArchiveFile,
    Lacking,
    Looked,
    events_of,
    fields_read,
    lacking,
    look_at,
    plan_of,
    reach_of,
    stretches,
)
from stream.catalog import Catalog
from stream.derived import DERIVED, derive
from stream.durations import DAY_MS, MINUTE_MS, duration_ms
from stream.forecast import FORECAST, RESIDUAL, given_of
from stream.forecasts import outlooks
from stream.given import CHURN
from stream.metrics import BUILTIN_METRICS
from stream.pipeline import Pipeline
from stream.plan import EVENTS, REJECTS, Plan
from stream.windows import Window, window_of

_HOUR_MS = 60 * MINUTE_MS
_SHOWN = 4
_LONGEST_MS = 400 * DAY_MS


class Refused(Exception):
    """What was asked for cannot be computed, and what to ask for instead."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be computed. Times in epoch milliseconds."""

    metrics: tuple[str, ...] = ()
    """None: all that the catalog has."""
    since_ms: int | None = None
    """None: from the beginning of the archive."""
    until_ms: int | None = None
    """None: as far as the archive has come."""
    allow_missing: bool = False
    """Whether what the archive lacks is to count as if it had never been."""


@dataclass(frozen=True, slots=True)
class Job:
    """What will be computed, and over what."""

    catalog: Catalog
    """Narrowed to what is asked for, and what that is made of."""
    plan: Plan
    names: frozenset[str]
    """The metrics whose points are wanted."""
    since_ms: int
    until_ms: int
    """Windows that lie wholly from `since_ms` to before this."""
    read_from_ms: int
    watermark_ms: int
    """Up to which events are read; what ends later is not over."""
    looked: tuple[Looked, ...]
    events: int
    """How many will be read, or a few less: counted by whole minutes."""
    notes: tuple[str, ...]
    """What somebody who reads the numbers should know."""

    @property
    def knows_before(self) -> bool:
        """Whether the numbers depend on all that was before the range."""
        return _knows_before(self.plan, self.catalog)


def prepare(
    catalog: Catalog,
    names: Sequence[str],
    bring: Callable[[str], ArchiveFile],
    asked: Asked,
    store: Store | None = None,
) -> Job:
    """Work out what to read. `names` are those of the archive's files, sorted by day; `bring` gives a file by name.

    Raises Refused, and ArchiveError for files that cannot be read. `store`, where there is one, says how many events
    were counted: an archive that has fewer is refused.
    """
    wanted = _chosen(catalog, asked.metrics)
    types = catalog.field_types
    small = narrowed(catalog, wanted)
    if not names:
        raise Refused("the archive has no files: nothing has been archived yet, or it is another place (--from)")
    files = [bring(name) for name in names]
    first_day, last_day = files[0].day, files[-1].day
    begin = reach_of([file for file in files if file.day == first_day])
    # An event may be put under the day before the last, when it came late.
    end = reach_of([file for file in files if (last_day - file.day).days <= 1])
    if begin is None or end is None:
        raise Refused("the archive has no events")
    plan = plan_of(small, types)
    over_ms = end[1] - _out_of_orderness_ms(catalog)
    # The windows that the first event falls into begin before it, by the width of the longest at the most.
    since_ms = max(begin[0] - _LONGEST_MS, 0) if asked.since_ms is None else asked.since_ms
    until_ms = over_ms if asked.until_ms is None else asked.until_ms
    if since_ms >= until_ms:
        raise Refused(f"expected --since before --until, found {iso(since_ms)} and {iso(until_ms)}")
    notes: list[str] = []
    knows_before = _knows_before(plan, small)
    # A file of the first days may have nothing but what came late.
    read_from_ms = begin[0] // MINUTE_MS * MINUTE_MS
    if not knows_before:
        read_from_ms = max(since_ms, read_from_ms)
    elif since_ms > read_from_ms:
        whys = sorted(name for name in wanted if needs_all(small, name))
        more = f" and {len(whys) - _SHOWN} more" if len(whys) > _SHOWN else ""
        names_said = f"{', '.join(whys[:_SHOWN])}{more}"
        notes.append(f"read from the archive's beginning, {iso(read_from_ms)}, which some need: {names_said}")
    settles_ms = max([cube.settles_ms for cube in plan.cubes], default=0)
    if plan.people is not None and plan.people.days is not None:
        settles_ms = max(settles_ms, plan.people.days.settle_ms)
    watermark_ms = min(over_ms, until_ms + settles_ms + (MINUTE_MS if settles_ms else 0))
    if over_ms < until_ms:
        held = f"the latest event of {end[2]} less event.out_of_orderness"
        notes.append(f"windows that end after {iso(over_ms)} are left out, as they may not be over: {held}")
    looked = [look_at(file) for file in files if _near(file.day, read_from_ms, max(watermark_ms, read_from_ms))]
    if not asked.allow_missing:
        _refuse_lacking(lacking(looked, plan), small, wanted)
    else:
        notes.extend(_say(one) for one in lacking(looked, plan))
    events = sum(_rows(one, read_from_ms, watermark_ms) for one in looked)
    seen, said = tuple(looked), tuple(notes)
    job = Job(small, plan, wanted, since_ms, until_ms, read_from_ms, watermark_ms, seen, events, said)
    if store is not None and not asked.allow_missing:
        _refuse_fewer(job, store)
    return job


def compute(job: Job, advance: Callable[[int], None], now_ms: int) -> Iterator[list[Point]]:
    """The settled points of a job, as their windows close. A point that comes again, with another value, replaces the
    one of before. `advance` is told of events as they are counted."""
    pipeline = Pipeline(job.plan, None, outlooks=outlooks(job.catalog, job.plan))
    inside = Inside(job)
    for stretch in stretches(job.looked, job.read_from_ms, job.watermark_ms):
        for batch in events_of(stretch, job.plan):
            late = pipeline.take([batch])
            assert not late, "stretches are read in order of time"
            advance(len(batch.time_ms))
        yield [point for point in pipeline.pass_to(stretch.to_ms, now_ms).live if inside.has(point)]


def meanwhile(job: Job, store: Store) -> None:
    """Raise Refused where events of the range were counted while it was computed, and are not in what was written."""
    try:
        _refuse_fewer(job, store)
    except Refused as error:
        message = "events of this range came late while it was computed: the same command puts right what they changed"
        raise Refused(f"{message}\n{error}") from error


class Inside:
    """Which points are of windows that a job is to give."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._zone = job.catalog.platform.zone
        self._windows: dict[str, Window] = {}
        self._ends: dict[tuple[str, int], int] = {}

    def has(self, point: Point) -> bool:
        if point.state is State.OPEN or point.metric not in self._job.names or point.start_ms < self._job.since_ms:
            return False
        key = point.window, point.start_ms
        end_ms = self._ends.get(key)
        if end_ms is None:
            window = self._windows.get(point.window)
            if window is None:
                window = self._windows[point.window] = window_of(point.window, self._zone)
            if len(self._ends) > 100_000:
                self._ends.clear()
            end_ms = self._ends[key] = window.end_ms(point.start_ms)
        return end_ms <= self._job.until_ms


def narrowed(catalog: Catalog, names: Collection[str]) -> Catalog:
    """The catalog with some of its metrics, and what these are made of."""
    churn = any(metric.name in names and metric.source == CHURN for metric in catalog.given)
    forecasts = [one for one in catalog.forecast if _gives(one.metric, names) or _of_all(catalog, names)]
    wanted = {*names, *(one.metric for one in forecasts)}
    known = [*catalog.metric, *(metric for metric in BUILTIN_METRICS if metric.name == EVENTS and EVENTS in names)]
    for metric in known:
        if metric.name in wanted and metric.measure in DERIVED:
            wanted |= set(derive(metric).inputs)
    metrics = [metric for metric in known if metric.name in wanted]
    people = {"churn": catalog.churn if churn else None}
    if not churn and all(metric.on is None for metric in metrics):
        people |= {"sessions": None, "actives": None, "engagement": None}
        people |= {"retention": [], "funnel": [], "paths": []}  # type: ignore[dict-item]
    # Nobody asks for the record of a person here, and it would be as long as the archive.
    of_people = catalog.people.model_copy(update={"timeline": None})
    return catalog.model_copy(update={"metric": metrics, "forecast": forecasts, "people": of_people, **people})


def needs_all(catalog: Catalog, name: str) -> bool:
    """Whether a metric depends on all that was before its windows."""
    metric = next((metric for metric in catalog.metric if metric.name == name), None)
    return metric is None or metric.on is not None


def _chosen(catalog: Catalog, names: Sequence[str]) -> frozenset[str]:
    known = {metric.name for metric in [*catalog.metric, *catalog.given]}
    for name in names:
        if name == REJECTS:
            raise Refused(f"--metric: {REJECTS} counts events that were refused, which no archive has")
        if name not in known and name != EVENTS:
            raise Refused(f"--metric: expected some of {', '.join(sorted(known))}; found {name!r}")
    return frozenset(names) or frozenset(known)


def _gives(metric: str, names: Collection[str]) -> bool:
    return f"{metric}{FORECAST}" in names or f"{metric}{RESIDUAL}" in names


def _of_all(catalog: Catalog, names: Collection[str]) -> bool:
    """Whether anything is asked for that is about all forecasts."""
    own = {f"{one.metric}{end}" for one in catalog.forecast for end in (FORECAST, RESIDUAL)}
    return any(one.name in names and one.name not in own for one in given_of(catalog.forecast, catalog.metric))


def _out_of_orderness_ms(catalog: Catalog) -> int:
    return duration_ms(catalog.event.out_of_orderness)


def _knows_before(plan: Plan, catalog: Catalog) -> bool:
    return plan.people is not None or bool(catalog.forecast)


def _day(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).date()


def _near(day: date, from_ms: int, to_ms: int) -> bool:
    return _day(from_ms) <= day <= _day(to_ms)


def _rows(looked: Looked, from_ms: int, to_ms: int) -> int:
    inside = (looked.minutes >= from_ms // MINUTE_MS) & (looked.minutes * MINUTE_MS < to_ms)
    return int(looked.rows[inside].sum())


def _say(one: Lacking) -> str:
    days = f"on {one.first}" if one.first == one.last else f"from {one.first} to {one.last}"
    return f"field {one.field} was not archived {days} ({one.files} file{'s' if one.files > 1 else ''})"


def _refuse_lacking(found: Sequence[Lacking], catalog: Catalog, names: Collection[str]) -> None:
    if not found:
        return
    lines = []
    for one in found:
        of = sorted(name for name in names if one.field in fields_read(narrowed(catalog, {name})))
        lines.append(f"{_say(one)}; it is read by {', '.join(of)}")
    raise Refused(
        "\n".join(lines) + "\nchoose a later --since, or other metrics (--metric); with --allow-missing those events "
        "count as if they had no such field"
    )


def _refuse_fewer(job: Job, store: Store) -> None:
    """Raise Refused where the store knows of more events than the archive has, by the hour and at the end by the
    minute: what came late just now is counted before it is archived."""
    from_ms = None if job.knows_before else job.since_ms
    to_ms = min(job.watermark_ms, job.until_ms)
    here: dict[int, int] = {}
    for one in job.looked:
        for minute, rows in zip(one.minutes.tolist(), one.rows.tolist(), strict=True):
            here[minute * MINUTE_MS] = here.get(minute * MINUTE_MS, 0) + rows
    in_hours: dict[int, int] = {}
    for start_ms, rows in here.items():
        hour_ms = start_ms // _HOUR_MS * _HOUR_MS
        in_hours[hour_ms] = in_hours.get(hour_ms, 0) + rows
    begin = None if from_ms is None else from_ms // _HOUR_MS * _HOUR_MS
    last_hour_ms = to_ms // _HOUR_MS * _HOUR_MS
    at_end = last_hour_ms if begin is None else max(begin, last_hour_ms)
    parts = (("hour", "1h", begin, _HOUR_MS, in_hours), ("minute", "1m", at_end, MINUTE_MS, here))
    had = there = 0
    spans: list[str] = []
    starts: list[int] = []
    end_ms = 0
    for word, window, since_ms, width_ms, rows_in in parts:
        counted = store.points(EVENTS, window, from_ms=since_ms, to_ms=to_ms, limit=10_000_000)
        fewer = [
            point
            for point in counted
            if point.state is not State.OPEN
            and point.start_ms + width_ms <= to_ms
            and rows_in.get(point.start_ms, 0) < point.count
        ]
        if fewer:
            had += sum(rows_in.get(point.start_ms, 0) for point in fewer)
            there += sum(point.count for point in fewer)
            spans.append(f"{len(fewer)} {word}{'s' if len(fewer) > 1 else ''}")
            starts.append(fewer[0].start_ms)
            end_ms = fewer[-1].start_ms + width_ms
    if spans:
        need = "" if from_ms is not None else "; sessions, retention, churn and forecasts need all that was before"
        raise Refused(
            f"the archive has {had:,} of the {there:,} events that were counted in {' and '.join(spans)} from "
            f"{iso(starts[0])} to {iso(end_ms)}{need}\nwhat has just come late is archived within a minute or so: then "
            "try again, or choose an earlier --until; events of people who were forgotten are gone for good; or choose "
            f"a --since from {iso(end_ms)} on, or other metrics (--metric); with --allow-missing the numbers are of "
            "what is there, and replace those that are known"
        )
