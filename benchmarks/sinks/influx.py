"""Lines for InfluxDB beside influxdb-client's `Point`, and what InfluxDB costs a processor.

`lines_vs_point`: 50,000 points of 1,000 series with two dimensions, final, each window once, as lines by
`sinks.line_protocol.LineEncoder` that knows the series, and by `influxdb_client.Point`: made from the same records by
its methods, and written by `to_line_protocol()`. Best of five each, in turn, in processor time of the thread. The lines
are the same but for how a float is written and the order of fields. An encoder that has seen none of the series is
measured too, and printed.

`influx_share`: a process that does nothing else runs `stream.influx_writer.InfluxWriter` with its spool on the disk of
the working directory and its thread, against an HTTP server in a process of its own that reads each request,
decompresses it and answers 204. For ten seconds, ten times a second, the worker is given 500 final points of 1,000
series, which is 5,000 points a second. The share is what those writes take the worker, in time that passes (waiting
for the disk among it, as the worker does nothing else meanwhile), and the processor time of the sender's thread, which
takes the interpreter from the worker: both over the ten seconds. Compression and sockets of the thread let go of the
interpreter, so it is an upper bound.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from influxdb_client.client.write.point import Point as ClientPoint
from influxdb_client.domain.write_precision import WritePrecision

from sinks.influx import InfluxSink
from sinks.line_protocol import LineEncoder
from sinks.records import Point, State
from sinks.spool_places import Places
from stream.influx_writer import InfluxWriter
from stream.meters import Meters
from stream.walltime import clock_ms

_SERIES, _WINDOWS = 1_000, 50
_START_MS = 1_761_400_800_000
_RUNS = 5
_PER_S, _TICKS_PER_S, _SECONDS = 5_000, 10, 10


def measure() -> dict[str, float]:
    return {"lines_vs_point": _lines_vs_point(), "influx_share": _share()}


def _points(windows: int, first: int = 0) -> list[Point]:
    return [
        Point(
            "orders",
            "10s",
            _START_MS + (first + window) * 10_000,
            (("country", f"country {series % 50}"), ("kind", f"kind-{series}")),
            series * 1.37 + window,
            series + window,
            State.FINAL,
            3,
            _START_MS,
        )
        for window in range(windows)
        for series in range(_SERIES)
    ]


def _lines_vs_point() -> float:
    points = _points(_WINDOWS)
    warm = LineEncoder()
    ours = warm.lines(points)
    assert [_comparable(line) for line in ours] == [_comparable(line.encode()) for line in _by_client(points)]
    of_ours: list[float] = []
    of_client: list[float] = []
    of_fresh: list[float] = []
    for _ in range(_RUNS):
        of_client.append(_seconds(lambda: _by_client(points)))
        of_ours.append(_seconds(lambda: warm.lines(points)))
        of_fresh.append(_seconds(lambda: LineEncoder().lines(points[:_SERIES])))
    each = 1e6 / len(points)
    print(
        f"a line: {min(of_ours) * each:.2f} µs, of a new series {min(of_fresh) * 1e6 / _SERIES:.2f} µs, "
        f"by influxdb-client's Point {min(of_client) * each:.2f} µs",
        file=sys.stderr,
    )
    return min(of_client) / min(of_ours)


def _by_client(points: list[Point]) -> list[str]:
    lines = []
    for point in points:
        made = ClientPoint(point.metric)
        for name, value in point.dimensions:
            made.tag(name, value)
        made.tag("window", point.window)
        made.field("value", point.value)
        made.field("count", point.count)
        made.field("revision", point.revision)
        made.field("final", point.state is not State.OPEN)
        made.time(point.start_ms, WritePrecision.MS)  # type: ignore[arg-type]
        lines.append(made.to_line_protocol())
    return lines


def _comparable(line: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Fields in any order, and 5.0 as 5."""
    head, time_ms = line.rsplit(b" ", 1)
    series, fields = head.rsplit(b" ", 1)
    pairs = dict(field.split(b"=") for field in fields.split(b","))
    return series, pairs | {b"value": b"%.9g" % float(pairs[b"value"])}, time_ms


def _seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _share() -> float:
    with tempfile.TemporaryDirectory(dir=".") as name, _Server() as url:
        meters = Meters()
        writer = InfluxWriter(InfluxSink(url, "t", "o", "b"), Places(Path(name), 1, 0), 1 << 30, meters, clock_ms)
        writer.setup()
        writer.start(_refused, _stopped, drains=True)
        ticks = _SECONDS * _TICKS_PER_S
        points = _points(_PER_S * _SECONDS // _SERIES + 1)
        each = _PER_S // _TICKS_PER_S
        writer.write(points[-_SERIES:])  # the encoder knows the series
        time.sleep(1.5)
        began_s, began_cpu, spent_s, spent_cpu = time.perf_counter(), time.process_time(), 0.0, 0.0
        for tick in range(ticks):
            time.sleep(max(0.0, began_s + tick / _TICKS_PER_S - time.perf_counter()))
            wrote_s, wrote_cpu = time.perf_counter(), time.thread_time()
            writer.write(points[tick * each : (tick + 1) * each])
            spent_s += time.perf_counter() - wrote_s
            spent_cpu += time.thread_time() - wrote_cpu
        passed_s = time.perf_counter() - began_s
        sender_cpu = time.process_time() - began_cpu - spent_cpu
        sent = meters.registry.get_sample_value("streamgauge_processor_sent_points_total", {"sink": "influx"})
        writer.close()
        assert sent is not None
        assert sent > _PER_S * (_SECONDS - 3), f"only {sent:.0f} lines were sent meanwhile"
    print(
        f"{ticks * each / passed_s:,.0f} points a second: the worker {spent_s / passed_s:.2%} (on a processor "
        f"{spent_cpu / passed_s:.2%}), the sender {sender_cpu / passed_s:.2%} of a processor",
        file=sys.stderr,
    )
    return (spent_s + sender_cpu) / passed_s


def _refused(letters: object) -> None:
    raise AssertionError(letters)


def _stopped(error: Exception) -> None:
    raise error


class _Server:
    """A server that takes every write, in a process of its own."""

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "benchmarks.sinks.influx"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()


class _Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response_only(204)
        self.end_headers()


def _serve() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Taking)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    # Whoever asked for it is gone when its end of the pipe is.
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    _serve()
