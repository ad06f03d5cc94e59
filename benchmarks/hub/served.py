"""`streamgauge serve` as its users start it, and somebody who writes to the live stream in the processor's place."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from types import MappingProxyType

import urllib3

from benchmarks.engine.place import ROOT, Place, clean_environment
from sinks.live import LIVE_STREAM, LiveSink
from sinks.records import Dimensions, Point, State
from tests.ports import free_port

TICK_MS = 20
"""A fifth of what is usual, so that the hub passes on at once what comes ten times a second."""
PLATFORM = "bench"
CATALOG = """
[platform]
name = "bench"

[[metric]]
name = "load"
measure = "sum"
value = "n"
by = ["part"]
windows = ["10s", "1m"]

[[metric]]
name = "total"
measure = "sum"
value = "n"
windows = ["10s", "1m"]
"""
START_MS = 1_700_000_000_000
_READY_WITHIN_S = 30.0
_STOP_S = 20.0
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(2))
_names = count()

Make = Callable[[], Sequence[Point]]


def stamped(metric: str, dimensions: Dimensions, number: int) -> Point:
    """A point whose value is the moment at which it was made: CLOCK_MONOTONIC, microseconds."""
    return Point(metric, "1m", START_MS, dimensions, time.monotonic_ns() // 1_000, number, State.OPEN, number, START_MS)


@contextmanager
def served(
    where: Place, declared: str = CATALOG, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Served]:
    """The API on an empty live stream and an empty store."""
    where.client().delete(LIVE_STREAM)
    directory = where.directory / f"served-{next(_names)}"
    directory.mkdir()
    catalog = directory / "catalog.toml"
    catalog.write_text(declared)
    port = free_port()
    environment = clean_environment() | {
        "VALKEY_URL": where.url,
        "STREAMGAUGE_STATE": str(directory / "state"),
        "STREAMGAUGE_TICK_MS": str(TICK_MS),
        **settings,
    }
    with (directory / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge", "serve", "--catalog", str(catalog), "--port", str(port)],
            env=environment,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _await(port, process)
        yield Served(where, port, process.pid)
    except Exception as error:
        said = (directory / "serve.log").read_text(errors="replace")[-3_000:]
        raise RuntimeError(f"{error}\nthe API said last:\n{said}") from error
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Served:
    """A running API process."""

    def __init__(self, where: Place, port: int, pid: int) -> None:
        self._where = where
        self.port = port
        self.pid = pid

    @contextmanager
    def publishing(self, make: Make, per_s: float) -> Iterator[None]:
        """Write what `make` gives to the live stream, so often a second, with the processor's own sink."""
        sink = LiveSink(self._where.client(), platform=PLATFORM)
        stop = threading.Event()
        failed: list[Exception] = []

        def run() -> None:
            due_s = time.monotonic()
            while not stop.wait(max(0.0, due_s - time.monotonic())):
                due_s += 1 / per_s
                try:
                    sink.write(make(), {}, now_ms=time.time_ns() // 1_000_000)
                except Exception as error:
                    failed.append(error)
                    return

        thread = threading.Thread(target=run, name="publishing")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if failed:
            raise RuntimeError(f"publishing ended: {failed[0]}") from failed[0]


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until it answers. Ready it is not, as no processor runs."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with status {process.returncode}")
        try:
            if _http.request("GET", f"http://127.0.0.1:{port}/v1/metrics").status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.05)
    raise RuntimeError("it does not answer")
