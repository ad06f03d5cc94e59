"""A part's own metrics over HTTP, for Prometheus and whatever else reads its text format; and how the part is."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterable
from socketserver import TCPServer
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

import orjson
from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from live_api.conditions import answer
from sinks.errors import Misconfigured
from streamgauge import __version__
from streamgauge.health import Health
from streamgauge.settings import LOOPBACK, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""A client that says nothing, or takes nothing, for so long is left."""


def expose(
    registry: CollectorRegistry, settings: Settings, member: int, of: str = "processor", health: Health | None = None
) -> None:
    """Serve `registry` from daemon threads until the process ends, as `settings` say; and `/healthz` and `/readyz` by
    `health`.

    `of`: whose they are, `processor`, `api` or `deliver`.

    Raises Misconfigured when that cannot be where somebody set it to be. At the default address it is only logged: a
    second processor on a machine is no mistake, and counting matters more.
    """
    place = settings.metrics_of(of)
    if place.port is None:
        return
    host, port = place.host, place.port + member
    try:
        serve(registry, host, port, health)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        whose = f"member {member}'s " if member else ""
        message = (
            f"{whose}own metrics cannot be served on {host}:{port}: {why}; choose another place with "
            f"{place.variable} or STREAMGAUGE_METRICS_HOST, or set {place.variable}=off"
        )
        if place.wanted:
            raise Misconfigured(message) from None
        logger.warning("%s. Going on without", message)
        return
    built = Gauge("streamgauge_build_info", "1 for the version that runs", ("version", "role"), registry=registry)
    built.labels(__version__, of).set(1)
    if host not in LOOPBACK:
        logger.warning("INSECURE: EVERYBODY WHO REACHES %s:%d CAN READ THE %s'S METRICS", host, port, of.upper())
    logger.info("own metrics: http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)


def serve(registry: CollectorRegistry, host: str, port: int, health: Health | None = None) -> ThreadingWSGIServer:
    """Listen, and answer from daemon threads. Raises OSError or OverflowError when nobody could listen there."""
    # Otherwise each counter and histogram brings a gauge along that says when it was made.
    disable_created_metrics()
    server = make_server(
        host, port, _application(registry, health), _SixServer if ":" in host else _Server, handler_class=_Handler
    )
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _application(registry: CollectorRegistry, health: Health | None) -> WSGIApplication:
    metrics = make_wsgi_app(registry)
    asked = {} if health is None else {"/healthz": health.alive, "/readyz": health.ready}

    def answer_of(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path not in asked:
            found: Iterable[bytes] = metrics(environ, start_response)
            return found
        status, said = answer(asked[path]())
        body = orjson.dumps(said) + b"\n"
        start_response(
            "200 OK" if status == 200 else "503 Service Unavailable",
            [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")],
        )
        return [body]

    return answer_of


class _Server(ThreadingWSGIServer):
    def server_bind(self) -> None:
        # Not the parent's, which asks for the name of the host and may wait for a name server.
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or was left; nothing that the processor's log should have."""
        logger.debug("%s was not answered", client_address, exc_info=True)


class _SixServer(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes are not worth a line each."""
