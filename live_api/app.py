"""The API process: REST, the hub and the wallboard in one ASGI application."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from starlette.websockets import WebSocket

from live_api import board_routes, health, history
from live_api.boards import boards_of
from live_api.context import Context
from live_api.feed import Feed
from live_api.hub import Hub
from live_api.latest import Latest
from live_api.pages import page_routes
from live_api.protocol import MAX_MESSAGE_BYTES
from sinks.errors import SinkError
from sinks.records import Point
from sinks.store import Store
from stream.catalog import Catalog
from stream.plan import BUILTIN
from stream.walltime import clock_ms

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
_NO_WALL = (
    "The wallboard is not built: live_api/static is missing.\n"
    "In a checkout, run `uv sync --reinstall-package streamgauge`; a wheel from PyPI always has it.\n"
    "The API works without it: /docs, /v1/metrics, /v1/ws.\n"
)


def create_app(
    catalog: Catalog, *, valkey_url: str, store_url: str, version: str, tick_ms: int = 100
) -> tuple[FastAPI, Hub]:
    """The application, and its hub for the server to drain."""
    latest = Latest()
    store = Store(store_url)
    dimensions = {**BUILTIN, **{metric.name: tuple(metric.by) for metric in catalog.metric}}

    def shows(point: Point) -> bool:
        """Whether a point is of the present catalog: a former one may have had the metric with other dimensions."""
        return dimensions.get(point.metric) == tuple(name for name, _ in point.dimensions)

    async def recall() -> None:
        latest.apply(filter(shows, await asyncio.to_thread(_recall, store)))

    feed = Feed(valkey_url, latest, recall, shows, platform=catalog.platform.name, clock=clock_ms)
    hub = Hub(latest, feed, clock=clock_ms, version=version, tick_ms=tick_ms)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(feed.run()), asyncio.create_task(hub.run())]
        for task in tasks:
            task.add_done_callback(_report)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            store.close()

    async def live(websocket: WebSocket) -> None:
        if not same_origin(websocket.headers):
            await websocket.close()  # before accept: the upgrade is refused with 403
            return
        await hub.serve(websocket)

    boards = boards_of(catalog)
    context = Context(catalog, store, feed, version)
    app = FastAPI(title="streamgauge", version=version, lifespan=lifespan)
    app.include_router(history.router(context))
    app.include_router(board_routes.router(boards, catalog.platform))
    app.include_router(health.router(context))
    app.router.routes.append(WebSocketRoute("/v1/ws", live))
    if (STATIC / "index.html").exists():
        app.router.routes.extend(page_routes(STATIC / "index.html", boards))
    app.router.routes.append(Mount("/", _wall()))
    return app, hub


def same_origin(headers: Headers) -> bool:
    """Whether a browser opened this from our own page. Other programs send no Origin and are let in."""
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False


class Server(uvicorn.Server):
    """uvicorn that says goodbye: the hub drains before connections are closed."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        try:
            await asyncio.wait_for(self._hub.drain(), 3)
        except TimeoutError:
            logger.warning("some clients did not take their goodbye")
        await super().shutdown(sockets)  # type: ignore[arg-type]


def serve(app: FastAPI, hub: Hub, *, host: str, port: int, log_level: str) -> None:
    """Run until SIGTERM or SIGINT, then return."""
    # When it is done the server raises the signal again, for whoever was there before it. Here nobody was, and the
    # default would turn an orderly end into a death by signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        log_level=log_level.lower(),
        access_log=False,
        ws_max_size=MAX_MESSAGE_BYTES,
        # Compressing for each client costs five times what the frame itself does.
        ws_per_message_deflate=False,
        # Without it, one client that never reads keeps the process for ever.
        timeout_graceful_shutdown=3,
    )
    Server(config, hub).run()


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


def _recall(store: Store) -> list[Point]:
    """What each series last was, so that quiet ones are shown after a restart too."""
    try:
        store.setup()
        return store.latest(0)
    except SinkError as error:
        logger.error("the store cannot be read, so only what moves is shown: %s", error)
        return []


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.critical("a part of the API ended, so it stops", exc_info=task.exception())
        # Whoever started it starts it again. Going on would show old numbers as if they were live.
        signal.raise_signal(signal.SIGTERM)
