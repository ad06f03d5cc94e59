"""The API process: REST, the hub and the wallboard in one ASGI application."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
import valkey
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from starlette.websockets import WebSocket

from live_api import (
    alert_routes,
    board_routes,
    boards,
    churn_routes,
    compare,
    health,
    history,
    ingest,
    people_routes,
    session,
    sse,
    ticker,
)
from live_api.access import audit_routes, identity_routes, login_routes
from live_api.access.browsers import cookie_name
from live_api.access.entrance import Access, Entrance
from live_api.access.guard import Identified, Identify, by_ticket, identity_of
from live_api.access.permissions import Permission
from live_api.admission import Admission, Limits, Origins
from live_api.alerts import FORGET_MS, MAX_ALERTS
from live_api.api_page import api_page_routes
from live_api.context import Context
from live_api.delivery import routes as delivery_routes
from live_api.described import described
from live_api.endings import end
from live_api.feed import Feed
from live_api.headers import Headers
from live_api.hosts import OwnNames
from live_api.hub import Hub
from live_api.intake.described import paths as ingest_paths
from live_api.intake.keys import IdentifyKey
from live_api.latest import Latest
from live_api.live_described import LIVE_PATHS
from live_api.meters import HubMeters
from live_api.openapi import describe
from live_api.pages import page_routes
from live_api.protocol import MAX_MESSAGE_BYTES
from live_api.session import Door
from live_api.stored import asked
from live_api.topics import About, Topics
from live_api.transport import HubProtocol, RequestProtocol
from sinks.alert_records import Alert
from sinks.alert_store import AlertStore
from sinks.commands import CommandSink
from sinks.deliveries import Deliveries
from sinks.history import History
from sinks.person_store import PersonStore
from sinks.records import Point
from sinks.score_store import ScoreStore
from sinks.store import Store
from stream.catalog import Catalog
from stream.geo import Geo
from stream.walltime import clock_ms

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
DRAIN_WITHIN_S = 3.0
"""How long saying goodbye to everybody may take."""
HARD_LIMIT_S = 7.0
"""How long an end may take in all."""
_NO_WALL = (
    "The wallboard is not built: live_api/static is missing.\n"
    "In a checkout, run `uv sync --reinstall-package streamgauge`; a wheel from PyPI always has it.\n"
    "The API works without it: /docs, /v1/metrics, /v1/ws.\n"
)


def create_app(
    catalog: Catalog,
    *,
    valkey_url: str,
    store_url: str,
    version: str,
    tick_ms: int = 100,
    heartbeat_s: float = 5.0,
    limits: Limits | None = None,
    origins: Origins | None = None,
    pseudonym: Callable[[str], str] | None = None,
    access: Access | None = None,
    identify: Identify | None = None,
    identify_key: IdentifyKey | None = None,
    ingest_limits: ingest.IngestLimits | None = None,
    ingest_origins: Sequence[str] = (),
    ingest_group: str = ingest.GROUP,
    geo: Geo | None = None,
) -> tuple[FastAPI, Hub]:
    """The application, and its hub for the server to drain.

    `pseudonym` makes of a person's id the name under which they are kept; it may raise SinkError. Without it persons
    can be asked for by that name only. `access` says who may do what; without it whoever shows nothing is `LOCAL`.
    `identify` stands in for what it would make of requests, `identify_key` of keys that come with events otherwise than
    in a header of ours. `ingest_origins` are pages that may send events besides our own, and `ingest_group` is the
    consumer group that shows how far the processor is. `geo` says where addresses are.
    """
    latest = Latest()
    declared = boards.boards_of(catalog)
    store, alert_store, log = Store(store_url), AlertStore(store_url), Deliveries(store_url)
    past = History(store_url)
    persons, scores = PersonStore(store_url), ScoreStore(store_url)
    # For what people say about alerts, tickets and sessions; the feed has a client of its own.
    client = valkey.Valkey.from_url(valkey_url, socket_timeout=5, socket_connect_timeout=2)
    dimensions = {metric.name: tuple(metric.by) for metric in catalog.every_metric}

    def shows(point: Point) -> bool:
        """Whether a point is of the present catalog: a former one may have had the metric with other dimensions."""
        return dimensions.get(point.metric) == tuple(name for name, _ in point.dimensions)

    async def recall() -> Iterable[Point]:
        return filter(shows, await asyncio.to_thread(_recall, store))

    async def recall_alerts() -> Mapping[str, dict[str, Any]]:
        since_ms = clock_ms() - FORGET_MS
        return await asyncio.to_thread(_recall_alerts, alert_store, since_ms)

    meters = HubMeters()
    feed = Feed(
        valkey_url,
        latest,
        recall,
        shows,
        platform=catalog.platform.name,
        clock=clock_ms,
        recall_alerts=recall_alerts,
        monotonic=time.monotonic,
        meters=meters,
    )
    hub = Hub(
        latest,
        feed,
        clock=clock_ms,
        monotonic=time.monotonic,
        version=version,
        topics=_topics(catalog, declared),
        wall=_build(),
        tick_ms=tick_ms,
        heartbeat_s=heartbeat_s,
        meters=meters,
    )
    admission = Admission(limits or Limits(), time.monotonic())
    origins = origins or Origins()
    entrance = Entrance(access or Access(), store_url, client, origins, pseudonym)
    audit = entrance.audit
    door = Door(hub, feed, admission, origins, time.monotonic, clock_ms, entrance.tickets.redeem)
    events_in = ingest.Ingest(
        catalog,
        valkey_url,
        registry=hub.meters.registry,
        pseudonym=pseudonym,
        identify_key=identify_key or entrance.asking.identify_key,
        limits=ingest_limits,
        origins=Origins(ingest_origins, origins.loopback),
        group=ingest_group,
        geo=geo,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts = (feed.follow(), feed.remember(), ticker.run(hub, feed, clock=clock_ms))
        tasks = [asyncio.create_task(part) for part in parts]
        for task in tasks:
            task.add_done_callback(report)
        try:
            yield
        finally:
            await end(tasks)
            store.close()
            past.close()
            log.close()
            alert_store.close()
            persons.close()
            scores.close()
            await entrance.aclose()
            client.close()
            await events_in.close()

    async def live(websocket: WebSocket) -> None:
        await session.serve(websocket, door)

    async def events(request: Request) -> Response:
        return await sse.stream(request, door)

    def report(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            logger.critical("a part of the API ended, so it stops", exc_info=task.exception())
            app.state.failed = True
            # Whoever started it starts it again. Going on would show old numbers as if they were live.
            signal.raise_signal(signal.SIGTERM)

    context = Context(catalog, store, feed, version)
    app = FastAPI(title="streamgauge", version=version, lifespan=lifespan, openapi_url=None)
    app.state.failed = False
    app.add_middleware(Identified, identify=identify or entrance.asking, refused=entrance.refused)
    if origins.loopback:
        app.add_middleware(OwnNames, origins=origins)
    # Outermost: refusals carry them too.
    app.add_middleware(Headers, origins=origins)
    app.include_router(history.router(context, past, audit))
    app.include_router(compare.router(catalog, store))
    app.include_router(board_routes.router(declared, catalog.platform))
    app.include_router(delivery_routes.router(log))
    app.include_router(people_routes.router(context, persons, pseudonym, scores, audit))
    app.include_router(churn_routes.router(context, scores, pseudonym, audit))
    app.include_router(health.router(context))
    app.include_router(identity_routes.router(entrance))
    app.include_router(login_routes.router(entrance))
    app.include_router(audit_routes.router(audit.store))
    app.include_router(alert_routes.router(catalog, alert_store, CommandSink(client), origins, audit))
    # Before all others: no other route is asked as often.
    app.router.routes[:0] = events_in.routes()
    app.router.routes.append(WebSocketRoute("/v1/ws", live))
    reading = by_ticket(events, door.holder, Permission.VIEW_NUMBERS)
    app.router.routes.append(Route("/v1/live", reading, methods=["GET"]))
    access = entrance.access
    describe(
        app,
        LIVE_PATHS | ingest_paths(),
        cookie=cookie_name(secure=(access.public_url or "").startswith("https:")),
        oidc_issuer=None if access.oidc is None else access.oidc.issuer,
    )
    app.router.routes.extend(api_page_routes(app, STATIC))
    if (STATIC / "index.html").exists():
        app.router.routes.extend(page_routes(STATIC / "index.html", declared, _knows_boards))
    app.router.routes.append(Mount("/", _wall()))
    return app, hub


def _knows_boards(request: Request) -> bool:
    identity = identity_of(request)
    return identity.may(Permission.VIEW_NUMBERS) and not identity.rows.limited


class Server(uvicorn.Server):
    """uvicorn that says goodbye: the hub drains before connections are closed."""

    def __init__(
        self,
        config: uvicorn.Config,
        hub: Hub,
        accepts_per_s: float = Limits().accepts_per_s,
        *,
        hard_limit_s: float | None = None,
        cut_off_status: int = 1,
    ) -> None:
        """`hard_limit_s`: how long after it was told to end the whole process is gone, whatever it waits for, and with
        which status: `cut_off_status`, or 1 when it ends because a part of it failed."""
        super().__init__(config)
        self._hub = hub
        self._accepts_per_s = accepts_per_s
        self._hard_limit_s = hard_limit_s
        self._cut_off_status = cut_off_status

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._hard_limit_s is not None:
            # Armed before anything that could hang. Nothing is lost by it: all that is held here is in Valkey.
            hard = threading.Timer(self._hard_limit_s, self._cut_off)
            hard.daemon = True
            hard.start()
        for server in self.servers:
            server.close()  # whoever is sent away now must not be let in again here
        await ticker.drain(self._hub, DRAIN_WITHIN_S, self._accepts_per_s)
        await super().shutdown(sockets)

    def _cut_off(self) -> None:
        os._exit(1 if _failed(self.config.app) else self._cut_off_status)


def server_config(
    app: FastAPI, *, host: str, port: int, log_level: str = "warning", trusted_proxies: str = "127.0.0.1"
) -> uvicorn.Config:
    """uvicorn as the hub needs it. `trusted_proxies` are addresses, separated by commas, that may say for whom they
    ask, and whether that was by https."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        log_level=log_level.lower(),
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=trusted_proxies,
        http=RequestProtocol,
        ws=HubProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        # Compressing for each client costs five times what the frame itself does.
        ws_per_message_deflate=False,
        # The hub asks for signs of life itself, and cuts who gives none; uvicorn would only say goodbye, and wait.
        ws_ping_interval=None,
        # Without it, one client that never reads keeps the process for ever.
        timeout_graceful_shutdown=1,
    )


def serve(
    app: FastAPI,
    hub: Hub,
    *,
    host: str,
    port: int,
    log_level: str,
    accepts_per_s: float = Limits().accepts_per_s,
    shared: bool = False,
    cut_off_status: int = 1,
    trusted_proxies: str = "127.0.0.1",
) -> bool:
    """Run until SIGTERM or SIGINT, or until a part of it fails; returns whether it ended as asked.

    `shared`: the port is one that other processes listen on as well, and the kernel gives each connection to one of
    them. `cut_off_status`: that of the process when it takes too long to end. Raises OSError when nobody can listen
    there.
    """
    config = server_config(app, host=host, port=port, log_level=log_level, trusted_proxies=trusted_proxies)
    server = Server(config, hub, accepts_per_s, hard_limit_s=HARD_LIMIT_S, cut_off_status=cut_off_status)

    def end(*_: object) -> None:
        # What comes before the server has handlers of its own is not lost. When it is done it raises the signal again,
        # and the default would turn an orderly end into a death by signal.
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server.run([listener(host, port, shared=shared)])
    return server.started and not _failed(app)


def _failed(app: Any) -> bool:
    return bool(app.state.failed)


def listener(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens. Raises OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
        made.set_inheritable(False)
    except OSError:
        made.close()
        raise
    return made


class _Files(StaticFiles):
    """The built front end. Files with a hash in their name never change; the page itself is asked for each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        lasting = path.startswith("assets/") and response.status_code in (200, 304)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        return response


def _wall() -> StaticFiles | PlainTextResponse:
    if (STATIC / "index.html").exists():
        return _Files(directory=STATIC, html=True)
    return PlainTextResponse(_NO_WALL, status_code=503)


def _topics(catalog: Catalog, declared: Mapping[str, boards.Board]) -> Topics:
    metrics = {name: About(tuple(one["windows"]), tuple(one["by"])) for name, one in described(catalog).items()}
    return Topics(metrics, {name: boards.topics(board) for name, board in declared.items()})


def _build() -> str | None:
    """Which build of the front end this is; None without any."""
    try:
        return (STATIC / "sources.sha256").read_text().strip()[:12]
    except OSError:
        return None


def _recall(store: Store) -> list[Point]:
    """What each series last was, so that quiet ones are shown after a restart too. Raises SinkError."""
    return asked(store, lambda: store.latest(0))


def _recall_alerts(store: AlertStore, since_ms: int) -> dict[str, dict[str, Any]]:
    """What was known of alerts when the last API ended: those that are open, and what has happened since. Raises
    SinkError."""

    def ask() -> list[Alert]:
        return [*store.alerts(since_ms=since_ms, limit=MAX_ALERTS), *store.alerts(active=True, limit=MAX_ALERTS)]

    known = asked(store, ask)
    # The latest last: the hub lets go of the first when there are too many.
    return {alert.id: alert.to_live() for alert in sorted(known, key=lambda alert: alert.last_seen_ms)}
