"""REST: who is likely to leave, and how good the models are that say so."""

from __future__ import annotations

import base64
import difflib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi import Path as Parameter

from live_api.access.auditing import Audit
from live_api.access.guard import WHOLE, identity_of, requires
from live_api.access.permissions import Permission
from live_api.asked import time_ms
from live_api.context import Context
from live_api.lasting import Lasting
from live_api.people import risk
from live_api.stored import answered
from live_api.whose import Pseudonym, names_of_or_me, readable
from sinks.audit_store import Action
from sinks.records import iso
from sinks.score_records import Level, ModelStatus
from sinks.score_store import FALLING, Place, Ranked, ScoreStore
from stream.catalog import Catalog
from stream.durations import DAY_MS, duration_ms
from stream.people.features import Churn
from stream.walltime import clock_ms
from stream.windows import window_of

T = TypeVar("T")

MOST_PERSONS = 1_000
_LASTING_S = 60.0
"""To count people is to look at everybody, and nothing changes until the model has another day."""
_LOOKED_AT = 1_000
"""Of so many of those most likely to leave it is told why."""
_LEVELS = ", ".join(FALLING)


def router(
    context: Context,
    scores: ScoreStore,
    pseudonym: Pseudonym | None,
    audit: Audit,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> APIRouter:
    """Routes over the scores of people and the states of models.

    Answers about people are not for caches. Without `pseudonym`, people can be asked for by pseudonym only.
    """
    api = APIRouter(prefix="/v1")
    declared = context.catalog.churn
    answers: Lasting[dict[str, Any]] = Lasting(clock, lambda: _LASTING_S)

    def ask(what: Callable[[], T]) -> T:
        return answered(scores, what)

    def all_models() -> dict[str, ModelStatus]:
        """Those that have begun, and those that the catalog declares."""
        begun = {status.name: status for status in ask(scores.models)}
        return {name: _not_begun(name) for name in _names(context.catalog)} | begun

    @api.get(
        "/churn",
        dependencies=[requires(Permission.PREDICTIONS), WHOLE],
        summary="Who is likely to leave, the most likely first, and how many there are",
    )
    def churn(
        request: Request,
        level: Annotated[str | None, Query(description=f"Only this level: {_LEVELS}")] = None,
        limit: Annotated[int, Query(ge=0, le=MOST_PERSONS, description="How many persons; 0: only how many")] = 100,
        segment: Annotated[str | None, Query(description="Only persons of this segment")] = None,
        changed_since: Annotated[
            str | None, Query(description="ISO 8601 or epoch ms: only persons whose level has changed since")
        ] = None,
        cursor: Annotated[str | None, Query(description="`next` of the answer before: go on behind it")] = None,
    ) -> Response:
        known, identity = _known(declared), identity_of(request)
        most = limit if identity.may(Permission.VIEW_OTHERS) else 0
        one = None if level is None else _level(level)
        since_ms, after = time_ms("changed_since", changed_since), None if cursor is None else _place(cursor)
        if one is not None and after is not None and after.level is not one:
            raise HTTPException(400, f"cursor: expected one of an answer about level {one}; found one about another")

        def look() -> tuple[dict[str, Any], list[Ranked]]:
            status = scores.model(risk.CHURN)
            question = one, None if status is None else status.at_ms
            head = answers.of(question, lambda: _head(scores, status, known, one, context.catalog))
            if most == 0:
                return head, []
            return head, scores.at_risk(one, most + 1, after=after, segment=segment, changed_since_ms=since_ms)

        head, found = ask(look)
        shown = found[:most]
        if shown:
            audit.must_hourly(identity, Action.READ_PERSON, "churn", "a list of those most likely to leave")
        table = head | {
            "state": context.feed.system.state(clock_ms()),
            "persons": [risk.person(each) for each in shown],
            "next": _cursor(shown[-1].place) if len(found) > most and shown else None,
        }
        # Here and not by the framework, which would do it where all clients of the hub wait for it.
        return Response(orjson.dumps(table), media_type="application/json", headers={"Cache-Control": "no-store"})

    # Ids may have slashes in them.
    @api.get(
        "/churn/{person:path}",
        dependencies=[requires(Permission.PREDICTIONS)],
        summary="How likely one person is to leave, by the id that events have",
    )
    def one_person(
        raw: Annotated[
            str, Parameter(alias="person", description="As events have it, kept nowhere; or a pseudonym; `me`: oneself")
        ],
        request: Request,
        response: Response,
    ) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        active_days = _known(declared).active_ms // DAY_MS
        identity = identity_of(request)
        for name in readable(identity, names_of_or_me(raw, identity, pseudonym, "/v1/churn")):
            found = ask(lambda name=name: scores.of(name))  # type: ignore[misc]
            if found is not None:
                audit.must(identity, Action.READ_PERSON, name, "churn")
                return risk.person(found)
        what = f"has come in the last {active_days} days, as of the end of the last day"
        raise HTTPException(404, f"person: nobody with that id {what}")

    @api.get(
        "/models",
        dependencies=[requires(Permission.PREDICTIONS), WHOLE],
        summary="Every model: its version, how good it is, what it has learned from",
    )
    def models() -> dict[str, Any]:
        return {
            "state": context.feed.system.state(clock_ms()),
            "models": [_described(status, context.catalog) for status in all_models().values()],
        }

    # Names of forecasts have those of metrics and windows in them.
    @api.get(
        "/models/{name:path}",
        dependencies=[requires(Permission.PREDICTIONS), WHOLE],
        summary="One model by its name",
    )
    def model(name: str) -> dict[str, Any]:
        known = all_models()
        if name not in known:
            some = f"one of {', '.join(known)}" if known else "none, as the catalog declares none"
            raise HTTPException(404, f"model: expected {some}; found {name[:100]!r}{_hint(name, known)}")
        return _described(known[name], context.catalog) | {"state": context.feed.system.state(clock_ms())}

    return api


def score_of(scores: ScoreStore, person: str) -> dict[str, Any] | None:
    """A person's score in public; None where there is none. Answers 503."""
    found = answered(scores, lambda: scores.of(person))
    return None if found is None else risk.person(found)


def _head(
    scores: ScoreStore, status: ModelStatus | None, declared: Churn, level: Level | None, catalog: Catalog
) -> dict[str, Any]:
    """What is said of everybody, and of those of a level why. Raises SinkError."""
    counts = scores.counts()
    looked_at = scores.at_risk(level, _LOOKED_AT)
    as_of_ms = max((one.as_of_ms for one in counts), default=None)
    return {
        "as_of": None if as_of_ms is None else iso(as_of_ms),
        "due": None if as_of_ms is None else iso(as_of_ms + DAY_MS + _settle_ms(declared, catalog)),
        "horizon_s": declared.horizon_ms / 1_000,
        "people": sum(one.people for one in counts),
        "proven": status is not None and status.proven,
        "model": risk.summary(status),
        "levels": risk.levels(counts, declared),
        "segments": risk.segments(counts),
        "factors_of": len(looked_at),
        "factors": risk.factors(looked_at),
    }


def _described(status: ModelStatus, catalog: Catalog) -> dict[str, Any]:
    """How a model stands, and until when in event time that is the latest."""
    told = status.to_json() if status.version else status.to_json() | {"at": None}
    due_ms, window = None, status.name.rpartition("@")[2]
    if status.kind == risk.CHURN:
        told["summary"] = risk.summary(status)
        declared = catalog.churn
        if declared is not None:
            due_ms = status.at_ms + DAY_MS + _settle_ms(declared, catalog)
    elif window != status.name:
        # The next such window may have begun late.
        with suppress(ValueError):
            due_ms = status.at_ms + 2 * window_of(window, catalog.platform.zone).about_ms
    return told | {"due": None if due_ms is None or not status.version else iso(due_ms)}


def _names(catalog: Catalog) -> list[str]:
    """Models that a catalog declares by name."""
    churn = [risk.CHURN] if catalog.churn is not None else []
    return churn + [f"forecast {one.metric}@{one.window}" for one in getattr(catalog, "forecast", ()) if one.window]


def _not_begun(name: str) -> ModelStatus:
    kind = name.partition(" ")[0]
    return ModelStatus(name, kind, at_ms=0, version=0, samples=0, proven=False, state_bytes=0, quality={})


def _settle_ms(declared: Churn, catalog: Catalog) -> int:
    return declared.settle_ms(duration_ms(catalog.event.allowed_lateness))


def _known(churn: Churn | None) -> Churn:
    if churn is None:
        raise HTTPException(404, "churn: expected [churn] in the catalog, which says what leaving is; found none")
    return churn


def _level(text: str) -> Level:
    try:
        return Level(text)
    except ValueError:
        pass
    raise HTTPException(400, f"level: expected one of {_LEVELS}; found {text[:100]!r}{_hint(text, FALLING)}")


def _hint(text: str, known: Any) -> str:
    near = difflib.get_close_matches(text, [str(one) for one in known], 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(list(place))).decode().rstrip("=")


def _place(cursor: str) -> Place:
    try:
        level, probability, person = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return Place(Level(level), float(probability), str(person))
    except (ValueError, TypeError):
        raise HTTPException(400, "cursor: expected `next` of an answer before; found something else") from None
