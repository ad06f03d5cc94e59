"""Real engines, and one honest fake, for tests: on free loopback ports, each ended by its own pid."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import urllib3
import uvicorn

from tests.ports import free_port

INSTALL = {
    "influxd": "apt-get install -y influxdb",
    "victoria-metrics": "apt-get install -y victoria-metrics",
    "promtool": "apt-get install -y prometheus",
}

_START_TIMEOUT_S = 20.0
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


def get(url: str, **query: str) -> Any:
    """The JSON that a GET answers."""
    answer = _http.request("GET", f"{url}?{urlencode(query)}" if query else url)
    assert answer.status == 200, f"GET {url}: {answer.status} {answer.data!r}"
    return json.loads(answer.data)


class Engine:
    """A program that can be killed and started again, on the same ports and data."""

    def __init__(self, command: list[str], log: Path, ready_url: str) -> None:
        program = shutil.which(command[0])
        if program is None:
            # A failure on purpose: a skipped engine would leave a green run that has tested nothing.
            raise RuntimeError(f"{command[0]} is not installed; these tests need it: {INSTALL[command[0]]}")
        self._command = [program, *command[1:]]
        self._log = log
        self._ready_url = ready_url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=subprocess.STDOUT)
        _wait_for(self._ready_url, self._process, self._log)

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _running(command: list[str], log: Path, ready_url: str) -> Iterator[Engine]:
    engine = Engine(command, log, ready_url)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(urllib3.exceptions.HTTPError):
            if _http.request("GET", url).status < 300:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{url} did not come up; {log} ends with:\n{log.read_text(errors='replace')[-2000:]}")


@dataclass(frozen=True)
class Influx1:
    """InfluxDB 1.x behind a front that takes the writes of InfluxDB 2."""

    url: str
    """Where a client of InfluxDB 2 writes; the bucket is the database."""
    direct_url: str
    """Where InfluxQL is asked."""
    engine: Engine
    """While it is away its front answers 502, as a proxy would."""

    def new_database(self) -> str:
        """The name of an empty database that is nobody else's."""
        name = f"db_{secrets.token_hex(4)}"
        _http.request("POST", f"{self.direct_url}/query", fields={"q": f"CREATE DATABASE {name}"})
        return name

    def write(self, database: str, lines: str) -> None:
        """Straight to the engine, in milliseconds."""
        answer = _http.request("POST", f"{self.direct_url}/write?db={database}&precision=ms", body=lines)
        assert answer.status == 204, answer.data

    def rows(self, database: str, query: str) -> list[dict[str, Any]]:
        """The rows of all series that an InfluxQL query answers, tags and columns together."""
        answer = get(f"{self.direct_url}/query", db=database, q=query, epoch="ms")["results"][0]
        assert "error" not in answer, answer
        return [
            {"measurement": one["name"], **one.get("tags", {}), **dict(zip(one["columns"], row, strict=True))}
            for one in answer.get("series", [])
            for row in one["values"]
        ]


@contextmanager
def influx1(directory: Path) -> Iterator[Influx1]:
    """Debian's InfluxDB 1.6 with its data in `directory`."""
    port, rpc_port = free_port(), free_port()
    config = directory / "influxd.conf"
    config.write_text(f"""
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
dir = "{directory}/meta"
[data]
dir = "{directory}/data"
wal-dir = "{directory}/wal"
query-log-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[monitor]
store-enabled = false
""")
    direct_url = f"http://127.0.0.1:{port}"
    with (
        _running(["influxd", "-config", str(config)], directory / "influxd.log", f"{direct_url}/ping") as engine,
        _served(_writes_of_influx2(direct_url)) as url,
    ):
        yield Influx1(url, direct_url, engine)


def _writes_of_influx2(direct_url: str) -> Any:
    """An ASGI app that passes `/api/v2/write?bucket=…` on to `/write?db=…`, as InfluxDB 1.8 does itself."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        assert scope["path"] == "/api/v2/write", scope["path"]
        target = f"{direct_url}/write?" + urlencode({"db": query["bucket"], "precision": query["precision"]})
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        kept = {name: headers[name] for name in ("content-encoding", "content-type") if name in headers}
        try:
            answer = await asyncio.to_thread(_http.request, "POST", target, body=body, headers=kept)
            status, said = answer.status, answer.data
        except urllib3.exceptions.HTTPError:
            status, said = 502, b"bad gateway"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": said})

    return app


@contextmanager
def _served(app: Any) -> Iterator[str]:
    """The ASGI app on a loopback port, in a thread of its own."""
    port = free_port()
    config = uvicorn.Config(app, port=port, lifespan="off", ws="none", log_level="warning", loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="asgi-front")
    thread.start()
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise RuntimeError("the ASGI front did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@dataclass(frozen=True)
class VictoriaMetrics:
    url: str

    def series(self, **labels: str) -> list[dict[str, Any]]:
        """The series with these labels, each as `{"metric": {…}, "values": […], "timestamps": […]}`."""
        matchers = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
        _http.request("GET", f"{self.url}/internal/force_flush")
        answer = _http.request(
            "GET", f"{self.url}/api/v1/export?{urlencode({'match[]': '{' + matchers + '}', 'start': '0'})}"
        )
        assert answer.status == 200, answer.data
        return [json.loads(line) for line in answer.data.splitlines()]


@contextmanager
def victoria_metrics(directory: Path) -> Iterator[VictoriaMetrics]:
    """Debian's VictoriaMetrics with its data in `directory`, keeping points of any age."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        "victoria-metrics",
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={directory}/data",
        "-retentionPeriod=100y",
        "-search.latencyOffset=0s",
        "-search.disableCache",
        # It keeps every sample it is given; with this, one per millisecond and series.
        "-dedup.minScrapeInterval=1ms",
        "-memory.allowedBytes=256MB",
    ]
    with _running(command, directory / "victoria-metrics.log", f"{url}/health"):
        yield VictoriaMetrics(url)


@dataclass(frozen=True)
class Scripted:
    """One answer that `FakeInflux2` gives whatever is written."""

    status: int
    message: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    """Instead of the JSON error that InfluxDB answers."""
    after_s: float = 0.0
    reset: bool = False
    """Cut the connection in place of answering."""


@dataclass
class FakeInflux2:
    """The answers of InfluxDB 2 to `/api/v2/write`, over real HTTP, for those that no engine gives on demand.

    A line that contains `unparseable` makes the whole batch fail with 400 and nothing written; one that
    contains `conflict` is left out with 422 and the rest written; more than `max_lines` lines are 413. What
    is `next` comes first, and while there is an `always`, that is the answer to all.
    """

    token: str = "a-token"
    org: str = "an-org"
    bucket: str = "a-bucket"
    more_buckets: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    """Buckets that the token may not write to."""
    max_lines: int = 100_000
    url: str = ""
    next: deque[Scripted] = field(default_factory=deque)
    always: Scripted | None = None
    written: list[bytes] = field(default_factory=list)
    """All lines that were taken, in their order."""
    by_bucket: dict[str, list[bytes]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    """Lines of each request."""
    requests: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def answer(self, headers: Any, query: dict[str, str], lines: list[bytes]) -> Scripted:
        self.requests += 1
        self.sizes.append(len(lines))
        if self.next:
            return self.next.popleft()
        if self.always is not None:
            return self.always
        if headers.get("Authorization") != f"Token {self.token}":
            return Scripted(401, "unauthorized access")
        if query["org"] != self.org:
            return Scripted(404, f'organization name "{query["org"]}" not found')
        if query["bucket"] not in (self.bucket, *self.more_buckets):
            return Scripted(404, f'bucket "{query["bucket"]}" not found')
        if query["bucket"] in self.read_only:
            return Scripted(403, "insufficient permissions for write")
        if len(lines) > self.max_lines:
            return Scripted(413, "unable to read data: points batch is too large")
        bad = [line for line in lines if b"unparseable" in line]
        if bad:
            return Scripted(400, f"unable to parse '{bad[0].decode()}': bad timestamp")
        kept = [line for line in lines if b"conflict" not in line]
        self.written += kept
        self.by_bucket.setdefault(query["bucket"], []).extend(kept)
        if len(kept) < len(lines):
            dropped = len(lines) - len(kept)
            return Scripted(
                422,
                f"failure writing points to database: partial write: field type conflict dropped={dropped}",
            )
        return Scripted(204)


@contextmanager
def fake_influx2(**settings: Any) -> Iterator[FakeInflux2]:
    fake = FakeInflux2(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Encoding"] == "gzip"
            where = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(where.query).items()}
            assert query["precision"] == "ms"
            scripted = Scripted(404, "", (), b"404 page not found\n")
            if where.path == "/api/v2/write":
                scripted = fake.answer(self.headers, query, gzip.decompress(body).split(b"\n"))
            fake.stop.wait(scripted.after_s)
            if scripted.reset:
                # Lingering for no time at all makes the kernel send RST instead of FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            answer = scripted.body
            if answer is None:
                answer = b"" if scripted.status == 204 else json.dumps({"message": scripted.message}).encode()
            with suppress(ConnectionError):  # a client that timed out is gone
                self.send_response_only(scripted.status)
                for name, value in scripted.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="fake-influx2")
    thread.start()
    try:
        yield fake
    finally:
        fake.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
