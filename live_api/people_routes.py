"""REST: the analyses of people as ready tables, and what is known of one person."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi import Path as Parameter

from live_api.access.auditing import Audit
from live_api.access.guard import WHOLE, identity_of, requires
from live_api.access.permissions import Permission
from live_api.asked import time_ms
from live_api.churn_routes import score_of
from live_api.context import Context
from live_api.described import title_of
from live_api.lasting import Lasting
from live_api.people import actives, engagement, funnel, lifecycle, paths, retention, sessions
from live_api.people.past import Past, TooMuch
from live_api.stored import answered, or_503
from live_api.whose import Pseudonym, names_of_or_me, readable
from sinks.audit_store import Action
from sinks.person_records import PersonLine
from sinks.person_store import PersonStore
from sinks.records import iso
from sinks.score_store import ScoreStore
from stream.durations import TOTAL
from stream.walltime import clock_ms

T = TypeVar("T")

MOST_LINES = 10_000
_FUNNELS = 1_000
_TAKES = {
    "retention": {"cohorts", "segment"},
    "funnel": {"start"},
    "lifecycle": {"period", "limit"},
    "actives": {"limit"},
    "paths": {"window", "limit"},
    "sessions": {"window", "limit"},
    "engagement": set[str](),
}
"""Every type of analysis, with the parameters that it takes."""
_LIMITS = {"lifecycle": (30, 400), "actives": (30, 400), "paths": (50, 500), "sessions": (30, 500)}
"""How many rows there are unless somebody asks for more, and how many at most."""
_EARLIEST_MS, _LATEST_MS = 0, 7_258_118_400_000
"""Between these every calendar has its periods."""
_SPLIT = "sessions_by_"
_MOST_VALUES = 50
"""Pages and the like of sessions."""
_LASTING_S = 2.0
"""Every screen asks the same, so an answer is worked out once in so long."""
_Answer = tuple[bytes, int | None]
"""A table in JSON, and up to when events are in it."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """One that the catalog declares, or that comes with one."""

    name: str
    type: str
    title: str
    declared: Any
    """Its table of the catalog."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request asks for; each type of analysis looks at its own."""

    cohorts: int
    segment: str | None
    at_ms: int | None
    """A moment of the funnel's period; None for the latest."""
    period: str | None
    window: str | None
    limit: int


def _table(one: Analysis, past: Past, asked: _Asked) -> dict[str, Any]:
    """The table of an analysis. Raises SinkError, TooMuch; answers 400."""
    declared = one.declared
    match one.type:
        case "retention":
            return retention.read(past, declared, cohorts=asked.cohorts, segment=asked.segment)
        case "funnel":
            return funnel.read(past, declared, at_ms=asked.at_ms)
        case "lifecycle":
            period = _one_of("period", asked.period, declared.periods)
            return lifecycle.read(past, period, limit=asked.limit)
        case "actives":
            return actives.read(past, limit=asked.limit)
        case "paths":
            window = _one_of("window", asked.window, declared.windows)
            return paths.read(past, one.name, window, limit=asked.limit)
        case "sessions":
            window = _one_of("window", asked.window, declared.windows)
            metrics = {metric["name"]: metric for metric in declared.metrics()}
            split = {metric["by"][0]: name for name, metric in metrics.items() if name.startswith(_SPLIT)}
            now = {name: metrics[name]["windows"][0] for name in sessions.NOW.values() if name in metrics}
            return sessions.read(past, window, split, now, periods=asked.limit, limit=_MOST_VALUES)
        case _:
            return engagement.read(past, declared.levels)


def analyses_of(catalog: Any) -> dict[str, Analysis]:
    """All analyses of people of a catalog, by name."""
    found: dict[str, Analysis] = {}
    for one in _analyses(catalog):
        found.setdefault(one.name, one)
    return found


def _analyses(catalog: Any) -> Iterator[Analysis]:
    for kind in ("sessions", "actives", "engagement"):
        declared = getattr(catalog, kind, None)
        if declared is not None:
            yield Analysis(kind, kind, title_of(kind), declared)
            if kind == "actives" and declared.periods:
                yield Analysis("lifecycle", "lifecycle", "Lifecycle", declared)
    for kind in ("retention", "funnel", "paths"):
        for declared in getattr(catalog, kind, None) or ():
            title = getattr(declared, "title", None) or title_of(declared.name)
            yield Analysis(declared.name, kind, title, declared)


def router(
    context: Context,
    persons: PersonStore,
    pseudonym: Pseudonym | None,
    scores: ScoreStore,
    audit: Audit,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> APIRouter:
    """Routes over the catalog, the points, and the persons' records and scores.

    Without `pseudonym`, persons can be asked for by pseudonym only.
    """
    api = APIRouter(prefix="/v1")
    analyses = analyses_of(context.catalog)
    answers: dict[str, Lasting[_Answer]] = {name: Lasting(clock, lambda: _LASTING_S) for name in analyses}

    @api.get(
        "/people",
        dependencies=[requires(Permission.VIEW_BEHAVIOUR), WHOLE],
        summary="Which analyses of people there are",
    )
    async def people() -> dict[str, Any]:
        return {"analyses": [{"name": one.name, "type": one.type, "title": one.title} for one in analyses.values()]}

    @api.get(
        "/people/{analysis}",
        dependencies=[requires(Permission.VIEW_BEHAVIOUR), WHOLE],
        summary="One analysis of people as a table",
    )
    def analysed(
        request: Request,
        analysis: str,
        cohorts: Annotated[
            int, Query(ge=1, le=retention.MOST_COHORTS, description="Of a retention: how many of the latest")
        ] = 12,
        segment: Annotated[str | None, Query(description="Of a retention: only this segment")] = None,
        start: Annotated[
            str | None, Query(description="Of a funnel by period: ISO 8601 or epoch ms, a moment in it; or the latest")
        ] = None,
        period: Annotated[str | None, Query(description="Of a lifecycle: day, week or month")] = None,
        window: Annotated[str | None, Query(description="Of paths and sessions: one of their windows")] = None,
        limit: Annotated[int | None, Query(ge=1, description="How many bars, days, periods, or rows of paths")] = None,
    ) -> Response:
        one = analyses.get(analysis)
        if one is None:
            expected = f"one of {', '.join(analyses)}" if analyses else "none, as the catalog declares none"
            raise HTTPException(404, f"analysis: expected {expected}; found {analysis[:100]!r}")
        _check_parameters(one, request)
        most = _limit(one, limit)
        declared, at_ms = one.declared, time_ms("start", start)
        if one.type == "funnel" and at_ms is not None:
            _check_start(declared, at_ms)
        if segment is not None and not declared.segmented:
            raise HTTPException(400, f"segment: expected none, as {one.name} has no segments; found {segment[:100]!r}")
        asked = _Asked(cohorts, segment, at_ms, period, window, most)
        system = context.feed.system

        def worked_out() -> _Answer:
            past = Past(context.store, context.catalog.platform.zone, system.watermark_ms)
            # Here and not by the framework, which would do it where all clients of the hub wait for it.
            return orjson.dumps(_table(one, past, asked)), past.as_of_ms

        question = tuple(sorted(request.query_params.multi_items()))
        table, known_ms = _asked(lambda: answers[analysis].of(question, worked_out))
        head = {
            "analysis": one.name,
            "type": one.type,
            "title": one.title,
            "as_of": None if known_ms is None else iso(known_ms),
            "state": system.state(clock_ms()),
        }
        # Two objects as one; neither is ever empty.
        return Response(orjson.dumps(head)[:-1] + b"," + table[1:], media_type="application/json")

    # Ids may have slashes in them.
    @api.get(
        "/persons/{id:path}",
        dependencies=[requires(Permission.VIEW_OWN, Permission.VIEW_OTHERS)],
        summary="What is known of one person, by the id that events have",
    )
    def person(
        raw: Annotated[
            str, Parameter(alias="id", description="As events have it, kept nowhere; or a pseudonym; `me`: oneself")
        ],
        request: Request,
        response: Response,
        limit: Annotated[int, Query(ge=1, le=MOST_LINES, description="How many lines, and how many sessions")] = 100,
    ) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        identity = identity_of(request)
        for name in readable(identity, names_of_or_me(raw, identity, pseudonym, "/v1/persons")):
            found = _record(persons, scores, name, limit)
            if found is not None:
                audit.must(identity, Action.READ_PERSON, name)
                return found if identity.may(Permission.PREDICTIONS) else found | {"churn": None}
        raise HTTPException(404, "person: nothing is known of anybody with that id")

    return api


def _record(persons: PersonStore, scores: ScoreStore, name: str, limit: int) -> dict[str, Any] | None:
    timeline, churn = _lines(persons, name, limit), score_of(scores, name)
    if not timeline and churn is None:
        return None
    engaged = _lines(persons, name, 1, "engagement")
    known = engaged[0].fields if engaged else {}
    return {
        "person": name,
        "timeline": [line.to_json() for line in timeline],
        "sessions": [line.to_json() for line in _lines(persons, name, limit, "session")],
        "level": known.get("level"),
        "score": known.get("score"),
        "funnels": [
            {"funnel": line.fields.get("funnel"), "step": line.fields.get("step"), "at": iso(line.at_ms)}
            for line in _lines(persons, name, _FUNNELS, "funnel")
        ],
        "churn": churn,
    }


def _lines(persons: PersonStore, name: str, limit: int, kind: str | None = None) -> list[PersonLine]:
    return answered(persons, lambda: persons.of(name, limit, kind=kind))


def _asked(ask: Callable[[], T]) -> T:
    try:
        with or_503():
            return ask()
    except TooMuch as error:
        raise HTTPException(400, str(error)) from None


def _check_parameters(one: Analysis, request: Request) -> None:
    takes = _TAKES[one.type]
    for name in request.query_params:
        if name not in takes:
            some = ", ".join(sorted(takes)) or "none"
            raise HTTPException(400, f"{name[:100]}: a {one.type} has no such parameter; its parameters: {some}")


def _limit(one: Analysis, limit: int | None) -> int:
    usual, most = _LIMITS.get(one.type, (0, 0))
    if limit is not None and limit > most:
        raise HTTPException(400, f"limit: expected 1 to {most}; found {limit}")
    return usual if limit is None else limit


def _check_start(declared: Any, at_ms: int) -> None:
    if declared.period == TOTAL:
        raise HTTPException(400, f"start: expected none, as {declared.name} has no period; found one")
    if not _EARLIEST_MS <= at_ms < _LATEST_MS:
        raise HTTPException(400, f"start: expected a time from 1970 to 2199; found {at_ms}")


def _one_of(name: str, value: str | None, expected: Sequence[str]) -> Any:
    """One of those there are, by default the first."""
    if value is not None and value not in expected:
        raise HTTPException(400, f"{name}: expected one of {', '.join(expected)}; found {value[:100]!r}")
    return expected[0] if value is None else value
