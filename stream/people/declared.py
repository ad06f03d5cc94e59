"""What a catalog declares about people: the analyses, the metrics that they bring, and what is wrong with either."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic import Field

from stream.derived import DERIVED
from stream.enrich_plan import given_by
from stream.expressions import ExpressionError, FieldType, Yields, compile_expression, fields_of, infer_types
from stream.people.base import CAPPED, Declaration, FactKind
from stream.people.registry import ANALYSES
from stream.problems import Problem
from stream.tables import Duration, Table

if TYPE_CHECKING:
    from stream.catalog import Catalog
    from stream.metrics import Metric

COUNTABLE = frozenset({"count", "sum", "mean", "rate", "quantile", *DERIVED})
"""Measures over facts: what was said of people may be taken back, and a maximum cannot forget."""
_OWN_NAMES = ("sessions", "actives", "lifecycle", "engagement", "churn")
"""What those analyses are called that a catalog gives no name."""
_CAPPED_METRIC: Mapping[str, Any] = {
    "name": "people_capped_events",
    "title": "Events beyond what one person may do in a day",
    "description": "They count for ordinary metrics, and for nothing that is about people.",
    "measure": "count",
    "on": CAPPED,
    "windows": ["1h", "day"],
}


class People(Table):
    """`[people]`: what holds for all analyses of people."""

    most_events_a_day: int = Field(10_000, ge=1, le=10_000_000)
    """More events of one person in a day (UTC) count for no analysis."""
    timeline: Duration | None = None
    """For how long each event is kept for `GET /v1/persons/{id}`; without it, not at all."""


def declarations(catalog: Catalog) -> list[tuple[str, Declaration]]:
    """Every analysis that a catalog declares, in the order in which they run, by a name of its own."""
    found: list[tuple[str, Declaration]] = []
    for key in ANALYSES:
        value = getattr(catalog, key)
        tables = value if isinstance(value, list) else [] if value is None else [value]
        for table in tables:
            name = f"{key}.{table.name}" if isinstance(value, list) else key
            # One table may stand for several, as that of all people and that by country.
            parts = table.parts() if hasattr(table, "parts") else [table]
            found.extend((name if place == 0 else f"{name}.{place}", part) for place, part in enumerate(parts))
    return found


def meaning_of(declared: Declaration, zone: ZoneInfo) -> str:
    """Is another where an analysis means something else: what was kept for the other is nothing to it."""
    assert isinstance(declared, Table)
    told = declared.model_dump_json(exclude={"title", "windows", "max_series", "max_transitions", *declared.no_meaning})
    return hashlib.sha256(f"{zone.key} {told}".encode()).hexdigest()[:8]


def names_of(catalog: Catalog) -> dict[str, str]:
    """The type of every analysis that can be asked for, by name."""
    found = {key: key for key in ("sessions", "actives", "engagement", "churn") if getattr(catalog, key) is not None}
    if catalog.actives is not None and catalog.actives.periods:
        found["lifecycle"] = "lifecycle"
    return found | {one.name: key for key in ("retention", "funnel", "paths") for one in getattr(catalog, key)}


def kinds_of(catalog: Catalog) -> dict[str, FactKind]:
    """Every kind of facts that metrics can count with the declared analyses."""
    declared = declarations(catalog)
    every = [kind for _, one in declared for kind in one.kinds(catalog.platform.zone)]
    found = {kind.name: kind for kind in every if not kind.is_line}
    return found | ({CAPPED: FactKind(CAPPED, {})} if declared else {})


def generated(catalog: Catalog) -> Iterator[Mapping[str, Any]]:
    """The metrics that the declared analyses bring, as tables."""
    declared = declarations(catalog)
    for _, one in declared:
        for metric in one.metrics():
            # Those that are worked out of others are over what these are over.
            yield {k: v for k, v in metric.items() if k != "on"} if metric["measure"] in DERIVED else metric
    if declared:
        yield _CAPPED_METRIC


def check_names(catalog: Catalog) -> Iterator[Problem]:
    """What is wrong with the names of analyses: each is asked for by its own."""
    taken = dict.fromkeys(_OWN_NAMES, "that of an analysis which has no other")
    for key in ("retention", "funnel", "paths"):
        for number, one in enumerate(getattr(catalog, key)):
            if one.name in taken:
                yield Problem(f"{key}[{number}].name", "a name of its own", f"{one.name!r}, {taken[one.name]}")
            taken.setdefault(one.name, f"as {key}[{number}] has")


def check_on(metric: Metric, kinds: Mapping[str, FactKind], key: str) -> Iterator[Problem]:
    """What is wrong with a metric over facts."""
    if metric.on is None:
        return
    kind = kinds.get(metric.on)
    if kind is None:
        near = difflib.get_close_matches(metric.on, kinds, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        expected = f"one of {', '.join(kinds)}" if kinds else "none, as this catalog declares no analysis of people"
        yield Problem(f"{key}.on", expected, f"{metric.on!r}{hint}")
        return
    if metric.measure not in COUNTABLE:
        why = "as what is said of people may be taken back"
        yield Problem(f"{key}.measure", f"one of {', '.join(sorted(COUNTABLE))}, {why}", repr(metric.measure))
    for name in metric.by:
        if kind.fields.get(name) is not FieldType.STRING:
            texts = [field for field, type_ in kind.fields.items() if type_ is FieldType.STRING]
            yield Problem(f"{key}.by", f"some of {', '.join(texts)}" if texts else f"none of {metric.on}", repr(name))
    for name, text, yields in (("where", metric.where, Yields.BOOLEAN), ("value", metric.value, Yields.NUMBER)):
        if text is not None:
            yield from _check_expression(text, kind, yields, f"{key}.{name}")


def check_people(catalog: Catalog, types: dict[str, FieldType], problems: list[Problem]) -> None:
    """Add the fields that analyses read to `types`, and what is wrong with how they do to `problems`."""
    told: dict[str, list[str]] = {}
    event, enriched = catalog.event, given_by(catalog.enrich)
    for name, declared in declarations(catalog):
        needs = declared.needs()
        asked = [(text, Yields.BOOLEAN) for text in needs.conditions]
        asked += [(text, Yields.NUMBER) for text in needs.values]
        asked += [(text, Yields.ANYTHING) for text in (*needs.texts, *needs.hashes)]
        asked += [(key.text, Yields.ANYTHING) for key in declared.unit()]
        # What cannot be compiled is told of once: other expressions may be made of it, and a table stand for two.
        table = name.split(".")[0] if name.split(".")[-1].isdigit() else name
        wrong = told.setdefault(table, [])
        for text, yields in sorted(asked, key=lambda one: len(one[0])):
            if any(known in text for known in wrong):
                continue
            try:
                expression = compile_expression(text)
                for field in (event.time, event.person):
                    if field is not None and field in fields_of(expression):
                        raise ExpressionError(f"field {field!r} is the event's time or person")
                for field, kind in infer_types(expression, enriched | types, yields).items():
                    types.setdefault(field, kind)
            except ExpressionError as error:
                wrong.append(text)
                problems.append(Problem(table, _EXPECTED[yields], f"{text!r}: {error}"))
        if getattr(declared, "entrants", None) == "session" and catalog.sessions is None:
            problems.append(Problem(f"{name}.unit", "also [sessions], which says what a session is", "'session' alone"))
        if event.person is None:
            problems.append(Problem("event.person", f"the field that says who, as {name} is about people", "nothing"))


_EXPECTED = {
    Yields.BOOLEAN: "an SQL condition over event fields",
    Yields.NUMBER: "an SQL expression that gives a number",
    Yields.ANYTHING: "an SQL expression over event fields",
}


def _check_expression(text: str, kind: FactKind, yields: Yields, key: str) -> Iterator[Problem]:
    try:
        expression = compile_expression(text)
        unknown = [name for name in fields_of(expression) if name not in kind.fields]
        if unknown:
            raise ExpressionError(f"{kind.name} has {', '.join(kind.fields) or 'no fields'}, not {unknown[0]!r}")
        infer_types(expression, kind.fields, yields)
    except ExpressionError as error:
        yield Problem(key, _EXPECTED[yields], f"{text!r}: {error}")
