"""A receiver of webhooks as a consumer would write it, over a real socket, that can be told to misbehave."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


@dataclass(frozen=True)
class Reply:
    """What it does about one request."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    after_s: float = 0.0
    """How long it takes."""
    reset: bool = False
    """The connection is reset instead."""
    body: bytes = b"ok"


@dataclass
class Request:
    headers: dict[str, str]
    content: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def body(self) -> Any:
        return json.loads(self.content)


@dataclass
class Receiver:
    """Keeps every request; what it took is what it answered with a success, each id once."""

    reply: Callable[[Request], Reply] = lambda _: Reply()
    secret: str | None = SECRET
    requests: list[Request] = field(default_factory=list)
    taken: list[Request] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What should not have been."""
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _bodies: dict[str, bytes] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/of-secrecy"

    def arrived(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            if self.secret is not None:
                try:
                    Webhook(self.secret).verify(request.content, request.headers)
                except Exception as error:
                    self.wrong.append(f"not verified: {error!r}")
            if (
                "webhook-id" in request.headers
                and self._bodies.setdefault(request.id, request.content) != request.content
            ):
                self.wrong.append(f"another body for {request.id}")
            return self.reply(request)

    def took(self, request: Request) -> None:
        with self._lock:
            if request.headers.get("webhook-id") not in {one.id for one in self.taken if self.secret is not None}:
                self.taken.append(request)

    def ids(self) -> list[str]:
        with self._lock:
            return [request.id for request in self.taken]


@contextmanager
def receiving(receiver: Receiver | None = None) -> Iterator[Receiver]:
    made = receiver or Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            content = self.rfile.read(size)
            if len(content) < size:
                # Whoever sent it was killed half-way: no request, as any HTTP server would have it.
                self.close_connection = True
                return
            request = Request({name.lower(): value for name, value in self.headers.items()}, content)
            reply = made.arrived(request)
            if reply.after_s:
                made.ended.wait(reply.after_s)
            if reply.reset:
                # Lingering for no time sends RST instead of FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            if 200 <= reply.status <= 299:
                made.took(request)
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def handle_one_request(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().handle_one_request()
                return
            self.close_connection = True

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def shutdown_request(self, request: Any) -> None:
            with contextlib.suppress(OSError):
                super().shutdown_request(request)

    server = Server(("127.0.0.1", made.port), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        made.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
