"""The real product for tests: an embedded Valkey and the command's own processes, each ended by its own pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
import urllib3
import valkey
from websockets.sync.client import ClientConnection, connect

from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import ValkeyServer

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
"""Real data beside the project on a developer's machine and on CI; absent everywhere else."""

T = TypeVar("T")
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(10 * PATIENCE))


def eventually(probe: Callable[[], T], *, within_s: float = 20.0, what: str = "") -> T:
    """What `probe` returns once it is truthy. Errors of the connection, and a key or an element that is not there,
    count as "not yet"."""
    within_s *= PATIENCE
    deadline = time.monotonic() + within_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = probe()
            if last:
                return last  # type: ignore[return-value]
        except (OSError, LookupError, urllib3.exceptions.HTTPError, valkey.exceptions.ValkeyError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"{what or 'it'} did not happen within {within_s:.0f} s; last seen: {last!r}")


@dataclass
class Stack:
    """Processor and API over one Valkey, as separate processes of the real command."""

    directory: Path
    catalog: Path
    server: ValkeyServer
    environment: dict[str, str]
    api_port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def client(self) -> valkey.Valkey:
        client: valkey.Valkey = self.server.client(socket_timeout=10 * PATIENCE)
        return client

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.directory / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge", *arguments],
            env=self.environment,
            cwd=self.directory,
            stdout=log,
            stderr=log,
        )
        log.close()
        self.processes[name] = process
        return process

    def run_processor(self) -> subprocess.Popen[bytes]:
        return self.start("run", "run", "--catalog", str(self.catalog))

    def run_api(self) -> subprocess.Popen[bytes]:
        return self.start("serve", "serve", "--catalog", str(self.catalog), "--port", str(self.api_port))

    def command(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return subprocess.run(
            [sys.executable, "-m", "streamgauge", *arguments],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def get(self, path: str, **query: Any) -> Any:
        answer = _http.request("GET", self.api + path, fields={k: str(v) for k, v in query.items()})
        return {**json.loads(answer.data), "http": answer.status}

    def points(self, metric: str, window: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.get("/v1/points", metric=metric, window=window, **query)
        assert answer["http"] == 200, answer
        points: list[dict[str, Any]] = answer["points"]
        return points

    def total(self, metric: str, window: str = "1d", **query: Any) -> float:
        return sum(point["value"] for point in self.points(metric, window, **query))

    def ready(self) -> None:
        seen: list[Any] = []

        def is_ready() -> bool:
            seen[:] = [self.get("/readyz")]
            return bool(seen[0]["http"] == 200)

        try:
            eventually(is_ready, within_s=60, what="readiness")
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen}\n{self.logs()}") from None

    def add(self, stream: str, events: Sequence[dict[str, Any]]) -> None:
        pipe = self.client.pipeline(transaction=False)
        for event in events:
            pipe.xadd(stream, {"data": orjson.dumps(event)})
        pipe.execute()

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.directory.glob("*.log")))


@contextmanager
def stack(directory: Path, catalog: Path, *, environment: dict[str, str] | None = None) -> Iterator[Stack]:
    """Start Valkey; the caller starts what it needs. Everything is ended afterwards."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMGAUGE_", "INFLUX_"))}
    with ValkeyServer(data_dir=directory / "valkey", persist=True, appendonly="yes") as server:
        made = Stack(
            directory,
            catalog,
            server,
            clean
            | {
                "VALKEY_URL": f"valkey://127.0.0.1:{server.port}/0",
                "STREAMGAUGE_STATE": str(directory / "state"),
                "STREAMGAUGE_SNAPSHOT_S": "0.5",
                "STREAMGAUGE_PERSON_KEY": "the-key-of-these-tests",
                "STREAMGAUGE_METRICS_PORT": "off",
            }
            | (environment or {}),
            free_port(),
        )
        try:
            yield made
        finally:
            for process in made.processes.values():
                if process.poll() is None:
                    process.kill()
                process.wait()


class Live:
    """A WebSocket client that keeps what it is told, as the wallboard does."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.series: dict[str, dict[int, tuple[Any, int, str, int]]] = {}
        self.system: dict[str, Any] = {}
        self.frames: list[dict[str, Any]] = []

    def receive(self, timeout_s: float = 10.0 * PATIENCE) -> dict[str, Any]:
        """The next message, after taking it in."""
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=timeout_s))
        self.frames.append(message)
        if message["op"] == "snapshot":
            self.series.clear()
        for key, series in message.get("series", {}).items():
            kept = self.series.setdefault(key, {})
            for start, value, count, state, revision in series["points"]:
                kept[start] = (value, count, state, revision)
        self.system = message.get("system", self.system)
        return message

    def until(self, probe: Callable[[Live], T], within_s: float = 20.0) -> T:
        """Receive until `probe` is truthy."""
        within_s *= PATIENCE
        deadline = time.monotonic() + within_s
        while not (found := probe(self)):
            left = deadline - time.monotonic()
            assert left > 0, f"not within {within_s} s; series: {sorted(self.series)[:20]}, system: {self.system}"
            self.receive(left)
        return found

    def total(self, key: str) -> float:
        return sum(value for value, *_ in self.series.get(key, {}).values())


@contextmanager
def live(made: Stack, *topics: str) -> Iterator[Live]:
    with connect(f"ws://127.0.0.1:{made.api_port}/v1/ws") as socket:
        socket.send(json.dumps({"op": "hello", "topics": list(topics)}))
        yield Live(socket)


def stop(process: subprocess.Popen[bytes], *, within_s: float = 10.0) -> int:
    """SIGTERM, and the exit status, which is not 0 where it took longer than is promised."""
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE * within_s)
