"""A real API over a real Valkey and SQLite, in a thread of this process."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
import valkey
from websockets.sync.client import ClientConnection, connect

from live_api.app import Server, create_app, server_config
from sinks.live import LiveSink
from sinks.records import Point, State
from stream.catalog import Catalog, parse
from stream.walltime import clock_ms
from tests.ports import free_port
from tests.servers import ValkeyServer
from tests.stack import Live, eventually

CATALOG = """
[platform]
name = "Shop"
timezone = "Europe/Berlin"

[[metric]]
name = "orders"
measure = "count"
by = ["country"]
windows = ["1m", "1d"]

[[metric]]
name = "revenue"
title = "Income"
measure = "sum"
value = "price"
windows = ["1m"]
unit = "EUR"
target = 500

[[metric]]
name = "sizes"
measure = "count"
by = ["a", "b"]
windows = ["1h"]
"""

_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


def point(
    value: float = 1,
    start_ms: int = 60_000,
    *,
    metric: str = "revenue",
    window: str = "1m",
    state: State = State.OPEN,
    revision: int = 1,
    count: int = 1,
    watermark_ms: int = 0,
    **dimensions: str,
) -> Point:
    return Point(metric, window, start_ms, tuple(dimensions.items()), value, count, state, revision, watermark_ms)


class Api:
    """One API process, but in a thread: its address, and what a client of it does."""

    def __init__(
        self,
        valkey_url: str,
        store_url: str,
        *,
        tick_ms: int = 50,
        heartbeat_s: float = 5.0,
        catalog: str | Catalog = CATALOG,
        plain: bool = False,
        **limits: Any,
    ) -> None:
        """`plain`: under uvicorn's own protocols, as any ASGI server would."""
        app, self.hub = create_app(
            parse(catalog) if isinstance(catalog, str) else catalog,
            valkey_url=valkey_url,
            store_url=store_url,
            version="1.2.3",
            tick_ms=tick_ms,
            heartbeat_s=heartbeat_s,
            **limits,
        )
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = server_config(app, host="127.0.0.1", port=self.port)
        if plain:
            config.ws, config.http = "websockets-sansio", "h11"
        self.server = Server(config, self.hub)
        self.thread = threading.Thread(target=self.server.run, name="api")
        self.thread.start()
        eventually(lambda: self.server.started, what="the API")

    def request(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> urllib3.BaseHTTPResponse:
        # A connection of its own: the server drops one on which a request failed.
        return _http.request(
            "GET",
            self.url + path,
            fields={k: str(v) for k, v in query.items()} or None,
            headers={"Connection": "close", **(headers or {})},
        )

    def get(self, path: str, **query: Any) -> Any:
        """The JSON that a GET answers, and its status as `http`."""
        answer = self.request(path, **query)
        return {**json.loads(answer.data), "http": answer.status}

    def caught_up(self) -> Api:
        """Wait until what is in the live stream has been read and has a seq of its own."""
        eventually(lambda: not any("read to its end" in reason for reason in self.get("/readyz")["reasons"]))
        eventually(lambda: self.hub.latest.settled)
        return self

    @contextmanager
    def connect(self, **options: Any) -> Iterator[ClientConnection]:
        with connect(f"ws://127.0.0.1:{self.port}/v1/ws", **options) as websocket:
            yield websocket

    @contextmanager
    def live(self, *topics: str, **hello: Any) -> Iterator[Live]:
        """A client that said hello and has been welcomed; `frames[0]` is the welcome."""
        with self.connect() as websocket:
            websocket.send(json.dumps({"op": "hello", "topics": topics, **hello}))
            client = Live(websocket)
            assert client.receive()["op"] == "welcome"
            yield client

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive(), "the API did not end"


class Stalled:
    """A WebSocket client with a small buffer that says hello and then never reads."""

    def __init__(self, port: int, *topics: str) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += self.socket.recv(1)
        hello = json.dumps({"op": "hello", "topics": topics}).encode()
        assert len(hello) < 126
        # A masked text frame; a mask of zeros leaves the text as it is.
        self.socket.sendall(bytes([0x81, 0x80 | len(hello), 0, 0, 0, 0]) + hello)

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def valkey_client(valkey_server: ValkeyServer) -> Iterator[valkey.Valkey]:
    """A client of the running Valkey, which is emptied first."""
    client: valkey.Valkey = valkey_server.client()
    client.flushall()
    yield client
    client.close()


class Processor:
    """Says what the processor would say."""

    def __init__(self, client: valkey.Valkey) -> None:
        self.client = client
        self._sink = LiveSink(client, platform="Shop")

    def say(self, *points: Point, at_ms: int | None = None) -> None:
        now_ms = clock_ms() if at_ms is None else at_ms
        status = {"lag_ms": 0, "caught_up": True, "at_ms": now_ms, "max_event_ms": now_ms}
        status |= {"lag": 12, "gaps": 2, "lost": 345, "lost_exact": False}
        self._sink.write(points, {"events:{0}": status}, now_ms=now_ms)

    def say_all(self, points: Sequence[Point]) -> None:
        self.say(*points)


@pytest.fixture
def processor(valkey_client: valkey.Valkey) -> Processor:
    """A processor that has been heard of just now."""
    made = Processor(valkey_client)
    made.say()
    return made


@pytest.fixture
def start(valkey_server: ValkeyServer, tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Starts an API over the shared Valkey and a store in the test's directory; ended with the test."""
    started: list[Api] = []

    def make(**options: Any) -> Api:
        options.setdefault("valkey_url", valkey_server.connection_url)
        options.setdefault("store_url", f"sqlite:///{tmp_path}/points.db")
        api = Api(**options)
        started.append(api)
        return api

    yield make
    for api in started:
        api.stop()


@pytest.fixture
def stall() -> Iterator[Callable[..., Stalled]]:
    made: list[Stalled] = []

    def stalled(api: Api, *topics: str) -> Stalled:
        made.append(Stalled(api.port, *topics))
        return made[-1]

    yield stalled
    for one in made:
        one.close()
