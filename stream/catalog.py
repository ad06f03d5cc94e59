"""The catalog: one TOML file that declares what is measured.

`load` reads and validates a file and reports every problem at once, each with the key, what was expected and
what was found. A loaded catalog is immutable plain data; `stream.plan` turns it into what the processor runs.
"""

from __future__ import annotations

import contextlib
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, ValidationError, model_validator

from stream.board_check import check_boards
from stream.boards import Board, Tile
from stream.derived import DERIVED, SCALAR, derive
from stream.durations import duration_ms
from stream.enrich_plan import check_enrich, given_by
from stream.expressions import ExpressionError, FieldType, Yields, compile_expression, fields_of, infer_types
from stream.forecast import Forecast, check_forecasts, given_of, names_given
from stream.given import churn_metrics
from stream.intake import Enrich, Ingest, Sampling
from stream.keeping import Archive, Buckets, Influx, Keep
from stream.measures.base import Takes
from stream.measures.registry import make
from stream.metrics import BUILTIN_METRICS, GivenMetric, Metric
from stream.people.actives import Actives
from stream.people.declared import People, check_names, check_on, check_people, generated, kinds_of, names_of
from stream.people.engagement import Action, Engagement
from stream.people.features import Actions, Churn, Feature
from stream.people.funnel import Exclude, Funnel, Step
from stream.people.paths import Paths
from stream.people.registry import ANALYSES
from stream.people.retention import RetentionTable
from stream.people.sessions import Sessions
from stream.problems import CatalogError, Problem, key_of, problem_of
from stream.rules import Rule, check_rules
from stream.tables import Duration, FieldName, Table, each_once
from stream.webhooks import Webhook, check_webhooks

_UTC = ZoneInfo("UTC")


def _window_or_off(text: str) -> str:
    if text != "off":
        duration_ms(text)
    return text


def _day(text: str) -> str:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a day such as 2000-01-01, found {text!r}") from None
    if day < date(1970, 1, 1):
        raise ValueError(f"expected a day from 1970-01-01 on, found {text!r}")
    return text


def _timezone(name: str) -> str:
    if name not in available_timezones():
        near = difflib.get_close_matches(name, available_timezones(), 1)
        raise ValueError(f"expected an IANA time zone{f' such as {near[0]}' if near else ''}, found {name!r}")
    return name


class Platform(Table):
    """`[platform]`: whose events these are and where they come from."""

    name: str = Field("streamgauge", min_length=1, max_length=100)
    """Shown on the wall; also names the state directory."""
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    """IANA time zone of the clock on the wall and of calendar windows."""
    streams: Annotated[list[Annotated[str, Field(min_length=1)]], AfterValidator(each_once)] = Field(
        ["events:{0}"], min_length=1, max_length=256
    )
    """Valkey streams, each read by a reader of its own."""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Event(Table):
    """`[event]`: where the envelope's parts are in a producer's event."""

    time: FieldName = "time"
    """Event time: ISO 8601 (UTC where no zone is given, or ` UTC` stands behind it) or epoch s, ms, us or ns, told
    apart by size. An event without it has the time at which its entry was added."""
    person: FieldName | None = None
    """Who did it; replaced by HMAC-SHA256(project key, id) as soon as it is read."""
    id: FieldName | None = None
    """What makes an event unique; without it, its content."""
    name: FieldName | None = None
    """Which kind of event: a field like any other for `where` and `by`, but for the default below."""
    default_name: str | None = None
    """What `name` is taken to be in an event without it."""
    required: list[FieldName] = Field([])
    """Fields without which an event is refused."""
    allowed_lateness: Duration = "1h"
    """How far behind the watermark an event still corrects its windows."""
    out_of_orderness: Duration = "5s"
    """How far the watermark stays behind the latest event."""
    max_skew: Duration = "5m"
    """How far ahead of the clock an event's time may be."""
    dedupe_window: Annotated[str, AfterValidator(_window_or_off)] = "24h"
    """For how long a second event with the same `id` is recognised and not counted again; `"off"` counts it. Without an
    id the whole content is compared; events with neither an id nor a time of their own are never taken for one another.
    At most the last 500,000 to 1,000,000 events of each shard are remembered, as 64-bit hashes: that two different ones
    are taken for one has a chance of one in 10^13 an event."""
    earliest: Annotated[str, AfterValidator(_day)] = "2000-01-01"
    """Events before this day are refused: clocks that were never set say 1970."""

    @model_validator(mode="after")
    def _check(self) -> Event:
        if self.default_name is not None and self.name is None:
            raise ValueError(f"default_name: expected also `name`, which it stands in for, found {self.default_name!r}")
        return self


class Catalog(Table):
    """A whole catalog."""

    platform: Platform = Field(default_factory=lambda: Platform.model_validate({}))
    event: Event = Field(default_factory=lambda: Event.model_validate({}))
    fields: dict[FieldName, Literal["string", "number", "boolean"]] = Field({})
    """Types of fields whose use does not tell, or tells wrongly."""
    metric: list[Metric] = Field([])
    board: list[Board] = Field([], max_length=60)
    """The first is the one at `/`."""
    people: People = Field(default_factory=lambda: People.model_validate({}))
    sessions: Sessions | None = None
    actives: Actives | None = None
    retention: list[RetentionTable] = Field([], max_length=20)
    funnel: list[Funnel] = Field([], max_length=20)
    paths: list[Paths] = Field([], max_length=20)
    engagement: Engagement | None = None
    churn: Churn | None = None
    anomaly: list[Rule] = Field([], max_length=500)
    """What somebody is to be told of."""
    webhook: list[Webhook] = Field([], max_length=100)
    """Who is told of alerts."""
    forecast: list[Forecast] = Field([], max_length=200)
    """Of which metrics it is said where they will be."""
    influx: Influx = Field(default_factory=lambda: Influx.model_validate({}))
    archive: Archive | None = None
    keep: Keep = Field(default_factory=lambda: Keep.model_validate({}))
    ingest: Ingest = Field(default_factory=lambda: Ingest.model_validate({}))
    enrich: Enrich = Field(default_factory=lambda: Enrich.model_validate({}))
    sampling: Sampling = Field({})

    @property
    def given(self) -> list[GivenMetric]:
        """The metrics whose points its models give."""
        return [*self._churn_metrics, *given_of(self.forecast, self.metric)]

    @property
    def _churn_metrics(self) -> list[GivenMetric]:
        if self.churn is None:
            return []
        settle_ms = self.churn.settle_ms(duration_ms(self.event.allowed_lateness))
        return churn_metrics(settle_ms, segments=self.churn.segments > 0)

    @property
    def every_metric(self) -> list[Metric]:
        """All metrics that it has: declared, brought by analyses of people, given by models, and the built-in ones."""
        return [*self.metric, *self.given, *BUILTIN_METRICS]

    @property
    def field_types(self) -> dict[str, FieldType]:
        """Every field the catalog reads except the time, with its declared or inferred type."""
        return _field_types(self, [])


def load(path: Path) -> Catalog:
    """Read a catalog file. Raises CatalogError, also for a file that is missing or is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(str(path), [Problem("file", "a readable UTF-8 file", str(error))]) from error
    return parse(text, str(path))


def parse(text: str, source: str = "catalog") -> Catalog:
    """Validate a catalog's text. `source` is named in the errors."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(source, [Problem("file", "valid TOML", str(error))]) from error
    try:
        catalog = Catalog.model_validate(raw)
    except ValidationError as error:
        problems = [problem_of(dict(item), raw, _known_keys) for item in error.errors()]
        _check_names(raw, problems)
        _check_what_is_sound(raw, problems)
        raise CatalogError(source, problems) from error
    problems = []
    _check_names(raw, problems)
    catalog = _with_people(catalog, problems)
    if not catalog.metric:
        problems.append(Problem("metric", "a metric, or an analysis of people", "nothing"))
    _field_types(catalog, problems)
    _check_sampling(catalog, problems)
    catalog = _with_derived(catalog, problems)
    _check_given(catalog, problems)
    metrics = {metric.name: metric for metric in catalog.every_metric}
    check_boards(raw, metrics, problems, names_of(catalog))
    check_rules(raw, metrics, problems)
    check_forecasts(raw, {metric.name: metric for metric in catalog.metric}, problems)
    check_webhooks(raw, catalog.webhook, problems)
    if problems:
        raise CatalogError(source, problems)
    return catalog


def _with_people(catalog: Catalog, problems: list[Problem]) -> Catalog:
    """The catalog with the metrics that its analyses of people bring."""
    problems.extend(check_names(catalog))
    own = {metric.name for metric in catalog.metric}
    brought = [Metric.model_validate(table) for table in generated(catalog)]
    for metric in brought:
        if metric.name in own:
            found = f"{metric.name!r}, which an analysis of people brings"
            problems.append(Problem("metric", "another name, or another of the analysis", found))
        own.add(metric.name)
    kinds = kinds_of(catalog)
    for number, metric in enumerate(catalog.metric):
        problems.extend(check_on(metric, kinds, f'metric[{number}] "{metric.name}"'))
    return catalog.model_copy(update={"metric": [*catalog.metric, *brought]})


def _check_sampling(catalog: Catalog, problems: list[Problem]) -> None:
    """Only what is read can be sampled."""
    streams = catalog.platform.streams
    for name in catalog.sampling:
        if name not in streams:
            near = difflib.get_close_matches(name, streams, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            problems.append(Problem("sampling", f"a stream of [platform] ({', '.join(streams)})", f"{name!r}{hint}"))


def _check_given(catalog: Catalog, problems: list[Problem]) -> None:
    """Names of metrics that models give are taken."""
    own = {metric.name for metric in catalog.metric}
    for metric in catalog.given:
        if metric.name in own:
            found = f"{metric.name!r}, which {metric.source} brings"
            problems.append(Problem("metric", "another name", found))
        own.add(metric.name)


def _with_derived(catalog: Catalog, problems: list[Problem]) -> Catalog:
    """The catalog with the dimensions and windows of its derived metrics filled in."""
    metrics = list(catalog.metric)
    known = {metric.name: metric for metric in metrics}
    for number, metric in enumerate(metrics):
        if metric.measure not in DERIVED:
            continue
        where = f'metric[{number}] "{metric.name}"'
        key = f"{where}.of" if metric.measure == "ratio" else f"{where}.value"
        try:
            names = derive(metric).inputs
        except ExpressionError as error:
            problems.append(Problem(key, "an SQL expression over metrics", f"{metric.value!r}: {error}"))
            continue
        if not names:
            problems.append(Problem(key, "an expression over other metrics", repr(metric.value)))
            continue
        inputs = [known[name] for name in names if name in known and known[name].measure in SCALAR]
        for name in names:
            if name not in known:
                problems.append(Problem(key, f"metrics of this catalog ({', '.join(known)})", repr(name)))
            elif known[name].measure not in SCALAR:
                problems.append(Problem(key, "metrics with one number", f"{name!r}, a {known[name].measure}"))
        if len(inputs) < len(names):
            continue
        if len({(tuple(one.by), one.max_series, one.on) for one in inputs}) > 1:
            found = ", ".join(
                f"{one.name} {'' if one.on is None else f'on {one.on} '}by {one.by} up to {one.max_series}"
                for one in inputs
            )
            problems.append(Problem(key, "metrics of the same `by`, `max_series` and `on`", found))
        windows = [text for text in inputs[0].windows if all(text in one.windows for one in inputs)]
        if not windows:
            problems.append(Problem(key, "metrics with a window in common", ", ".join(names)))
        shared = {"by": inputs[0].by, "windows": windows, "on": inputs[0].on, "max_series": inputs[0].max_series}
        metrics[number] = metric.model_copy(update=shared)
    return catalog.model_copy(update={"metric": metrics})


def _check_names(raw: Mapping[str, Any], problems: list[Problem]) -> None:
    tables = raw.get("metric")
    names: set[Any] = set()
    for number, table in enumerate(tables if isinstance(tables, list) else ()):
        name = table.get("name") if isinstance(table, dict) else None
        if isinstance(name, str) and name in names:
            problems.append(Problem(key_of(("metric", number, "name"), raw), "each name once", f"{name!r} again"))
        names.add(name if isinstance(name, str) else None)


def _names_in(raw: Mapping[str, Any]) -> list[str]:
    tables = raw.get("metric")
    names = [table.get("name") for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    return [name for name in names if isinstance(name, str)]


def _check_what_is_sound(raw: Mapping[str, Any], problems: list[Problem]) -> None:
    """Look at the expressions too where a table is wrong, so that nobody is told of their mistakes in two rounds."""
    tables = raw.get("metric")
    sound: dict[int, Metric] = {}
    for number, table in enumerate(tables if isinstance(tables, list) else ()):
        try:
            sound[number] = Metric.model_validate(table)
        except ValidationError:
            for key in ("where", "value"):
                text = table.get(key) if isinstance(table, dict) else None
                if isinstance(text, str):
                    try:
                        compile_expression(text)
                    except ExpressionError as error:
                        where = key_of(("metric", number, key), raw)
                        problems.append(Problem(where, "an SQL expression", f"{text!r}: {error}"))
    # Without the others nothing can be said about metrics that are worked out of them.
    metrics = dict.fromkeys(_names_in(raw), None) | {metric.name: metric for metric in BUILTIN_METRICS}
    metrics |= {metric.name: metric for metric in sound.values() if metric.measure not in DERIVED}
    check_forecasts(raw, metrics, problems)
    metrics |= dict.fromkeys(names_given(raw))
    check_boards(raw, metrics, problems)
    check_rules(raw, metrics, problems)
    event = Event.model_validate({})
    with contextlib.suppress(ValidationError):
        event = Event.model_validate(raw.get("event", {}))
    _field_types(
        Catalog.model_construct(event=event, fields={}, metric=list(sound.values()), **_enrich_in(raw)),
        problems,
        list(sound),
    )


def _enrich_in(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The table `[enrich]` where it is right: without it, what it gives is of another type."""
    with contextlib.suppress(ValidationError):
        return {"enrich": Enrich.model_validate(raw.get("enrich", {}))}
    return {}


def _field_types(
    catalog: Catalog, problems: list[Problem], numbers: Sequence[int] | None = None
) -> dict[str, FieldType]:
    """Types of all fields; what does not fit goes to `problems`. `numbers` are the metrics' places in the file."""
    event = catalog.event
    types = {name: FieldType(kind) for name, kind in catalog.fields.items()}
    used_by = dict.fromkeys(types, "[fields]")
    enriched = given_by(catalog.enrich)

    def use(names: Mapping[str, FieldType], key: str) -> None:
        for name, kind in names.items():
            types.setdefault(name, enriched.get(name, kind))
            used_by.setdefault(name, key)

    if event.time in types:
        problems.append(
            Problem(
                f"fields.{event.time}", "no type for the event's time, which is read as one", str(types[event.time])
            )
        )
    for key in ("person", "id", "name"):
        if (name := getattr(event, key)) is not None:
            if name == event.time:
                problems.append(Problem(f"event.{key}", "a field other than the event's time", repr(name)))
            if types.get(name, FieldType.STRING) is not FieldType.STRING:
                problems.append(Problem(f"event.{key}", "a string field", f"{name!r}, declared {types[name]}"))
            use({name: FieldType.STRING}, f"event.{key}")
    dimensions: dict[str, str] = {}
    for number, metric in zip(numbers or range(len(catalog.metric)), catalog.metric, strict=True):
        if metric.on is not None:
            continue
        where = f'metric[{number}] "{metric.name}"'
        for key, text, yields in (("where", metric.where, Yields.BOOLEAN), ("value", metric.value, _yields(metric))):
            if text is None or metric.measure in DERIVED:
                continue
            try:
                expression = compile_expression(text)
                if event.time in fields_of(expression):
                    raise ExpressionError(f"field {event.time!r} is the event's time, which the windows are made of")
                use(infer_types(expression, enriched | types, yields), f"{where}.{key}")
            except ExpressionError as error:
                used = ", ".join(
                    f"{name} is a {types[name]} because of {used_by[name]}"
                    for name in _names(text)
                    if name in types and name in str(error)
                )
                found = f"{text!r}: {error}{f' [{used}]' if used else ''}"
                problems.append(Problem(f"{where}.{key}", _EXPECTED[yields], found))
        if metric.measure == "top_k" and event.person is not None and event.person in _names(metric.value or ""):
            problems.append(
                Problem(f"{where}.value", "a text other than the person, who is named nowhere", repr(event.person))
            )
        for name in metric.by:
            dimensions[name] = f"{where}.by"
    for name, key in dimensions.items():
        if name == event.time:
            problems.append(Problem(key, "a dimension other than the event's time", repr(name)))
        if name == event.person:
            problems.append(Problem(key, "a dimension other than the person, of whom there is no end", repr(name)))
        use({name: FieldType.STRING}, key)
    use({name: FieldType.STRING for name in event.required if name != event.time}, "event.required")
    if catalog.archive is not None:
        use({name: FieldType.STRING for name in catalog.archive.fields if name != event.time}, "archive.fields")
    check_people(catalog, types, problems)
    problems.extend(check_enrich(catalog, types, used_by))
    names = {*types, event.time}
    for name in sorted(names):
        parts = name.split(".")
        for cut in range(1, len(parts)):
            if (parent := ".".join(parts[:cut])) in names:
                key = used_by.get(name, "event.time")
                problems.append(Problem(key, f"{parent!r} to be an object or a value, not both", f"{name!r}"))
    return types


_EXPECTED = {
    Yields.BOOLEAN: "an SQL condition over event fields",
    Yields.NUMBER: "an SQL expression that gives a number",
    Yields.ANYTHING: "an SQL expression over event fields",
}


def _yields(metric: Metric) -> Yields:
    """What the value of a metric has to be."""
    takes = Takes.NOTHING if metric.measure in DERIVED else make(metric.measure, metric.options, has_value=True).takes
    return Yields.ANYTHING if takes is Takes.TEXT else Yields.NUMBER


def _names(text: str) -> list[str]:
    try:
        return fields_of(compile_expression(text))
    except ExpressionError:
        return []


def _known_keys(location: Sequence[Any]) -> list[str]:
    tables: dict[Any, Any] = {
        "platform": Platform,
        "event": Event,
        "metric": Metric,
        "anomaly": Rule,
        "webhook": Webhook,
        "forecast": Forecast,
        "people": People,
        "influx": Influx,
        "archive": Archive,
        "keep": Keep,
        "ingest": Ingest,
        "enrich": Enrich,
        **ANALYSES,
    }
    table = tables.get(location[0], Catalog) if len(location) > 1 else Catalog
    if location[0] == "board" and len(location) > 1:
        table = Tile if "tile" in location[:-1] else Board
    nested = {"steps": Step, "exclude": Exclude, "action": Action, "feature": Feature, "actions": Actions}
    nested["bucket"] = Buckets
    for part in location[1:-1]:
        table = nested.get(part, table)
    return [field.alias or name for name, field in table.model_fields.items()]
