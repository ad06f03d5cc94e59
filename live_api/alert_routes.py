"""REST: alerts of now and of the past, what rules make of the numbers, and what people say about them.

What people say is not done here. It goes to the processor like any event, and what came of it is told on the live line.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request

from live_api.access.auditing import Audit
from live_api.access.guard import identity_of, requires
from live_api.access.identity import LOCAL, NOBODY, Identity
from live_api.access.permissions import Permission
from live_api.access.within import metrics_within
from live_api.admission import Origins
from live_api.asked import asked_for, dimensions_asked, json_body, time_ms
from live_api.described import described
from live_api.orders import author, reason, silence_end, silenced
from live_api.stored import or_503
from sinks.alert_records import Alert, AlertStatus, Command, Order, Scored, Severity, Silence
from sinks.alert_store import AlertStore
from sinks.audit_store import Action
from sinks.commands import CommandSink
from sinks.records import Dimensions, iso
from stream.catalog import Catalog
from stream.rules import Rule
from stream.walltime import clock_ms

T = TypeVar("T")
Id = Annotated[str, Path(alias="id")]

MAX_ALERTS = 1_000
MAX_SCORES = 10_000
MAX_BODY_BYTES = 16_384
_OWN_PARAMETERS = {"metric", "window", "from", "to"}
_STATUSES = ("active", *(status.value for status in AlertStatus), "all")

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "by": {"type": "string", "description": "Who says so; a login or a key says it itself"},
                        "reason": {"type": "string", "description": "Required for a silence and a false alarm"},
                        "for": {"type": "string", "description": "Of a silence: how long, such as 2h"},
                        "until": {"type": "string", "description": "Of a silence, instead: ISO 8601 or epoch ms"},
                        "rule": {"type": "string", "description": "Of a silence; without it, every rule"},
                        "dimensions": {"type": "object", "description": "Of a silence: series that have all of these"},
                    },
                }
            }
        },
    }
}


def router(
    catalog: Catalog,
    store: AlertStore,
    commands: CommandSink,
    origins: Origins,
    audit: Audit,
    *,
    clock: Callable[[], int] = clock_ms,
) -> APIRouter:
    """Routes over the catalog and the store, and the way to the processor.

    Whatever says something answers 202: it is in the stream of commands. Pages of other origins get 403, and what is no
    `application/json` 415, which no page can send elsewhere without being asked first.
    """
    api = APIRouter(prefix="/v1")
    known = described(catalog)
    rules = {rule.called: rule for rule in catalog.anomaly}
    platform = catalog.platform.name

    async def allowed(request: Request) -> None:
        if not origins.allow(request.headers.get("origin"), request.headers.get("host")):
            raise HTTPException(403, "Origin: expected a page of this server, or one of STREAMGAUGE_ORIGINS")

    async def said(request: Request) -> dict[str, Any]:
        await allowed(request)
        raw = await json_body(request, MAX_BODY_BYTES)
        try:
            body = orjson.loads(raw)
        except ValueError as error:
            raise HTTPException(400, f"expected a JSON object: {error}") from None
        if not isinstance(body, dict):
            raise HTTPException(400, f"expected a JSON object; found {type(body).__name__}")
        return body

    def by_whom(identity: Identity, body: Mapping[str, Any]) -> str:
        """Whoever is known is who says so, whatever name they give; others are asked for one."""
        if identity.name not in (LOCAL.name, NOBODY.name):
            return identity.name
        who = author(body)
        if who.startswith(("key:", "user:", "cli:")):
            raise HTTPException(400, "by: names that begin with key:, user: and cli: are those of keys and logins")
        return who

    def tell(command: Command, identity: Identity) -> dict[str, Any]:
        with or_503():
            commands.write(command)
        subject = command.alert or command.silence or ""
        audit.may(identity.name, Action.ACKNOWLEDGED, subject, f"{command.order.value} by {command.by}")
        told = {"order": command.order.value, "by": command.by, "at": iso(command.at_ms)}
        about = {"alert": command.alert, "silence": command.silence}
        return told | {name: value for name, value in about.items() if value is not None}

    @api.get("/alerts", dependencies=[requires(Permission.VIEW_NUMBERS)], summary="Alerts, the latest opened first")
    def alerts(
        request: Request,
        status: str = Query("active", description=f"One of {', '.join(_STATUSES)}; active: not resolved"),
        rule: str | None = Query(None, description="Name of a rule"),
        severity: str | None = Query(None, description=f"One of {', '.join(Severity)}"),
        since: str | None = Query(None, description="ISO 8601 or epoch ms: something has happened since"),
        limit: int = Query(100, ge=1, le=MAX_ALERTS),
    ) -> dict[str, Any]:
        _check("status", status, _STATUSES)
        if severity is not None:
            _check("severity", severity, [*Severity])
        found = _asked(
            lambda: store.alerts(
                status=None if status in ("active", "all") else AlertStatus(status),
                active=status == "active",
                rule=rule,
                severity=None if severity is None else Severity(severity),
                since_ms=time_ms("since", since),
                limit=limit + 1,
                shows=_shown(request),
            )
        )
        return {"alerts": [alert.to_json() for alert in found[:limit]], "truncated": len(found) > limit}

    @api.get("/alerts/{id}", dependencies=[requires(Permission.VIEW_NUMBERS)], summary="One alert by its id")
    def alert(name: Id, request: Request) -> dict[str, Any]:
        return _alert(store, name, request).to_json()

    def order(request: Request, name: str, order: Order, body: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Of an alert that is there and goes on."""
        identity = identity_of(request)
        by, why = by_whom(identity, body), reason(body, required=order in (Order.SILENCE, Order.FALSE_ALARM))
        found = _alert(store, name, request)
        if found.status is AlertStatus.RESOLVED:
            raise HTTPException(409, f"alert {name} is resolved already, since {iso(found.resolved_ms or 0)}")
        if order is Order.SILENCE:
            # Of its series, also when the alert is over before this is read.
            more |= {"rule": found.rule, "dimensions": found.dimensions}
        return tell(Command(order, by, clock(), platform, found.id, why, **more), identity)

    @api.post(
        "/alerts/{id}/ack",
        dependencies=[requires(Permission.ACKNOWLEDGE)],
        status_code=202,
        summary="Somebody takes it on",
        openapi_extra=_BODY,
    )
    def ack(request: Request, name: Id, body: dict[str, Any] = Depends(said)) -> dict[str, Any]:
        return order(request, name, Order.ACK, body)

    @api.post(
        "/alerts/{id}/resolve",
        dependencies=[requires(Permission.ACKNOWLEDGE)],
        status_code=202,
        summary="It is over",
        openapi_extra=_BODY,
    )
    def resolve(request: Request, name: Id, body: dict[str, Any] = Depends(said)) -> dict[str, Any]:
        return order(request, name, Order.RESOLVE, body)

    @api.post(
        "/alerts/{id}/false_alarm",
        dependencies=[requires(Permission.ACKNOWLEDGE)],
        status_code=202,
        summary="It was none: it ends, and that series has to be stranger from now on",
        openapi_extra=_BODY,
    )
    def false_alarm(request: Request, name: Id, body: dict[str, Any] = Depends(said)) -> dict[str, Any]:
        return order(request, name, Order.FALSE_ALARM, body)

    @api.post(
        "/alerts/{id}/silence",
        dependencies=[requires(Permission.ACKNOWLEDGE)],
        status_code=202,
        summary="Nobody is told of alerts of its rule and series for a while",
        openapi_extra=_BODY,
    )
    def silence_alert(request: Request, name: Id, body: dict[str, Any] = Depends(said)) -> dict[str, Any]:
        until_ms = silence_end(body, clock())
        return order(request, name, Order.SILENCE, body, silence=_new_id(), until_ms=until_ms)

    @api.get(
        "/silences",
        dependencies=[requires(Permission.VIEW_NUMBERS)],
        summary="Silences that have not ended, the next to end first",
    )
    def silences(request: Request) -> dict[str, Any]:
        return {"silences": [_silence(one) for one in standing(request)]}

    def standing(request: Request) -> list[Silence]:
        """Those within the rows of whoever asks: one of a whole rule is about others' too."""
        rows = identity_of(request).rows
        return [one for one in _asked(lambda: store.silences(clock())) if rows.show(one.dimensions)]

    def own_rules(request: Request) -> dict[str, Rule]:
        """The rules about series that whoever asks may see."""
        rows = identity_of(request).rows
        offered = metrics_within(known, rows)
        mine = {name: frozenset(values) for name, values in rows.allowed}
        return {
            name: rule
            for name, rule in rules.items()
            if rule.metric in offered
            and all(value in mine.get(dimension, (value,)) for dimension, value in rule.dimensions.items())
        }

    @api.post(
        "/silences",
        dependencies=[requires(Permission.ACKNOWLEDGE)],
        status_code=202,
        summary="Silence a whole rule, or some series",
        openapi_extra=_BODY,
    )
    def silence(request: Request, body: dict[str, Any] = Depends(said)) -> dict[str, Any]:
        identity = identity_of(request)
        rule, dimensions = silenced(body, own_rules(request))
        if not identity.rows.show(dimensions):
            names = ", ".join(name for name, _ in identity.rows.allowed)
            raise HTTPException(403, f"dimensions: expected those of your own rows, with {names}; found others")
        return tell(
            Command(
                Order.SILENCE,
                by_whom(identity, body),
                clock(),
                platform,
                reason=reason(body, required=True),
                silence=_new_id(),
                rule=rule,
                dimensions=dimensions,
                until_ms=silence_end(body, clock()),
            ),
            identity,
        )

    @api.delete(
        "/silences/{id}",
        dependencies=[requires(Permission.ACKNOWLEDGE), Depends(allowed)],
        status_code=202,
        summary="End a silence",
    )
    def unsilence(
        request: Request,
        name: Id,
        by: str | None = Query(None, description="Who says so; a login or a key says it itself"),
    ) -> dict[str, Any]:
        identity = identity_of(request)
        who = by_whom(identity, {"by": by})
        if name not in (one.id for one in standing(request)):
            raise HTTPException(404, f"silence: there is none {name!r}, or it has ended")
        return tell(Command(Order.UNSILENCE, who, clock(), platform, silence=name), identity)

    @api.get(
        "/rules",
        dependencies=[requires(Permission.VIEW_NUMBERS)],
        summary="The rules of the catalog, and how many series of each are in which state",
    )
    def all_rules(request: Request) -> dict[str, Any]:
        # How many series a rule watches is said of all of them only.
        watched = {} if identity_of(request).rows.limited else _asked(store.watched)
        return {
            "rules": [
                {
                    "name": name,
                    "title": rule.title,
                    "metric": rule.metric,
                    "window": rule.window,
                    "key": rule.key,
                    "dimensions": rule.dimensions,
                    "detector": rule.detector,
                    "severity": {severity.value: limit * rule.kind.orientation for severity, limit in rule.limits},
                    "series": watched[name].series if name in watched else None,
                    "at": iso(watched[name].at_ms) if name in watched else None,
                }
                for name, rule in own_rules(request).items()
            ]
        }

    @api.get(
        "/scores",
        dependencies=[requires(Permission.VIEW_NUMBERS)],
        summary="What the rules made of a metric's windows, oldest first",
    )
    def scores(
        request: Request,
        metric: str = Query(description="Name of a metric of the catalog"),
        window: str = Query(description="One of its windows, such as 1m"),
        from_: str | None = Query(None, alias="from", description="ISO 8601 or epoch ms; starts at or after"),
        to: str | None = Query(None, description="ISO 8601 or epoch ms; starts before"),
    ) -> dict[str, Any]:
        found = asked_for(metrics_within(known, identity_of(request).rows), metric, window)
        dimensions = dimensions_asked(found, request, _OWN_PARAMETERS)
        from_ms, to_ms = time_ms("from", from_), time_ms("to", to)
        rows = _asked(
            lambda: store.scores(
                metric,
                window,
                dimensions=dimensions,
                from_ms=from_ms,
                to_ms=to_ms,
                limit=MAX_SCORES + 1,
                shows=_shown(request),
            )
        )
        return {
            "metric": metric,
            "window": window,
            # A former catalog may have had other rules, or the metric with other dimensions.
            "scores": [
                _score(row)
                for row in rows[:MAX_SCORES]
                if row.rule in rules and [name for name, _ in row.dimensions] == found["by"]
            ],
            "truncated": len(rows) > MAX_SCORES,
        }

    return api


def _asked(ask: Callable[[], T]) -> T:
    with or_503():
        return ask()


def _shown(request: Request) -> Callable[[Dimensions], bool] | None:
    """Whether a series is one that whoever asks may see; None where all are."""
    rows = identity_of(request).rows
    return rows.show if rows.limited else None


def _alert(store: AlertStore, name: str, request: Request) -> Alert:
    found = _asked(lambda: store.alert(name))
    if found is None or not identity_of(request).rows.show(found.dimensions):
        raise HTTPException(404, f"alert: there is none {name[:100]!r}")
    return found


def _check(name: str, value: str, expected: Any) -> None:
    if value not in expected:
        raise HTTPException(400, f"{name}: expected one of {', '.join(expected)}; found {value[:100]!r}")


def _new_id() -> str:
    return secrets.token_hex(12)


def _silence(silence: Silence) -> dict[str, Any]:
    return {
        "id": silence.id,
        "by": silence.by,
        "reason": silence.reason,
        "made": iso(silence.made_ms),
        "until": iso(silence.until_ms),
        "rule": silence.rule,
        "dimensions": dict(silence.dimensions),
    }


def _score(row: Scored) -> dict[str, Any]:
    return {
        "start": iso(row.start_ms),
        "dimensions": dict(row.dimensions),
        "rule": row.rule,
        "value": row.value,
        "score": row.score,
        "expected": row.expected,
        "lower": row.lower,
        "upper": row.upper,
        "anomalous": row.anomalous,
        "warm": row.warm,
        "why": row.why,
    }
