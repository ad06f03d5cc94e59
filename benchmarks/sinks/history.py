"""Questions about the past: a store with 100 series of a metric in minutes over 30 days, asked over HTTP.

`python -m benchmarks.sinks --measure history`. The answers come from a server in a process of its own; each figure is
the median of `_TIMES` answers, read whole, over one kept connection.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import multiprocessing.connection
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from sinks.store import Store

_SERIES = 100
_DAYS = 30
_DAY_MS = 86_400_000
_START_MS = 1_777_593_600_000  # 2026-05-01
_WIDTHS_MS = {"1m": 60_000, "1h": 3_600_000, "1d": _DAY_MS}
_TIMES = 30
_INSERT_SERIES = 'INSERT INTO series (metric, "window", dimensions, names) VALUES (?, ?, ?, ?)'
_INSERT_DIMENSIONS = """
INSERT INTO series_dimension (name, value, series_id)
SELECT 'channel', json_extract(dimensions, '$.channel'), id FROM series WHERE metric = :metric AND "window" = :window
"""
_INSERT_POINTS = """
WITH RECURSIVE row(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM row WHERE n < :last),
one(series_id, start_ms, value) AS (
  SELECT id, :start + n * :width, (1 + n * 7919 * (id + 3) % (:width / 600)) FROM series, row
  WHERE metric = :metric AND "window" = :window
)
INSERT INTO points (series_id, start_ms, value, value_json, "count", state, revision, watermark_ms)
SELECT series_id, start_ms, value, value, value, 'final', 3, start_ms + :width + 5000 FROM one ORDER BY 1, 2
"""
_CATALOG = """
[[metric]]
name = "edits"
measure = "count"
by = ["channel"]
windows = ["1m", "1h", "1d"]

[[metric]]
name = "minutes"
measure = "count"
windows = ["1m"]
"""


def measure() -> dict[str, float]:
    """Keys of `Figures`."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/points.db"
        began = time.perf_counter()
        points = _fill(Path(directory) / "points.db", url)
        _say(f"{points:,} points in {time.perf_counter() - began:.0f} s")
        with _served(url) as address:
            http = urllib3.PoolManager(retries=False)
            range_ = f"from={_START_MS}&to={_START_MS + _DAYS * _DAY_MS}"
            month = f"{address}/v1/points?metric=edits&{range_}"
            one = f"{month}&channel=c7"
            etag = http.request("GET", one).headers["ETag"]
            day = f"from={_START_MS + 9 * _DAY_MS}&to={_START_MS + 10 * _DAY_MS}"
            found = {
                "history_month_ms": _median(http, one, 720),
                "history_month_all_ms": _median(http, f"{month}&shape=columns", 720 * _SERIES),
                "history_day_ms": _median(http, f"{address}/v1/points?metric=edits&window=1m&channel=c7&{day}", 1_440),
                "history_same_ms": _median(http, one, 0, {"If-None-Match": etag}),
            }
            # Not held to anything, but of use to who reads what this prints.
            combined = _median(http, f"{address}/v1/points?metric=minutes&{range_}", 720, times=5)
            rows = _median(http, f"{month}&format=csv", 720 * _SERIES, times=5)
            _say(f"a month put together from minutes {combined:.1f} ms; 72,000 points as CSV {rows:.0f} ms")
            return found


def _fill(path: Path, url: str) -> int:
    """Every window of every series, straight into the tables; how many points."""
    store = Store(url)
    store.setup()
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    for metric, names, count, windows in (("edits", ["channel"], _SERIES, _WIDTHS_MS), ("minutes", [], 1, ["1m"])):
        for window in windows:
            connection.execute("BEGIN")
            for number in range(count):
                key = (metric, window, f'{{"channel":"c{number}"}}' if names else "{}", json.dumps(names))
                connection.execute(_INSERT_SERIES, key)
            if names:
                connection.execute(_INSERT_DIMENSIONS, {"metric": metric, "window": window})
            width_ms = _WIDTHS_MS[window]
            asked = {"start": _START_MS, "width": width_ms, "last": _DAYS * _DAY_MS // width_ms - 1}
            connection.execute(_INSERT_POINTS, asked | {"metric": metric, "window": window})
            connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    total: int = connection.execute("SELECT count(*) FROM points").fetchone()[0]
    connection.close()
    return total


def _median(
    http: urllib3.PoolManager, url: str, points: int, headers: dict[str, str] | None = None, *, times: int = _TIMES
) -> float:
    """Milliseconds; checks that there are as many points as there should be."""
    taken = []
    for turn in range(times + 3):
        began = time.perf_counter()
        answer = http.request("GET", url, headers=headers or {})
        taken.append(1_000 * (time.perf_counter() - began))
        if turn == 0:
            found = _count(answer)
            if found != points:
                raise RuntimeError(f"{url}: expected {points} points, found {found} with status {answer.status}")
    # The first ones find neither the pages of the file nor the statements ready.
    return statistics.median(taken[3:])


def _count(answer: urllib3.BaseHTTPResponse) -> int:
    if answer.status == 304:
        return 0
    if answer.headers["Content-Type"].startswith("text/csv"):
        return answer.data.count(b"\r\n") - 1
    body = answer.json()
    if "points" in body:
        return len(body["points"])
    return sum(len(one["values"]) - one["values"].count(None) for one in body["series"])


@contextmanager
def _served(url: str) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(url, there))
    process.start()
    there.close()
    try:
        address: str = here.recv()
        http = urllib3.PoolManager(retries=urllib3.Retry(30, backoff_factor=0.05))
        http.request("GET", f"{address}/v1/boards")
        yield address
    finally:
        process.terminate()
        process.join()


def _serve(url: str, said: multiprocessing.connection.Connection) -> None:
    # Only here: the process that measures needs nothing of it.
    from live_api.app import Server, create_app, listener, server_config
    from stream.catalog import parse

    # It says every second that there is no Valkey.
    logging.disable(logging.CRITICAL)
    made = listener("127.0.0.1", 0)
    # Nobody is there: history is asked of the store, and of nothing else.
    app, hub = create_app(parse(_CATALOG), valkey_url="valkey://127.0.0.1:1", store_url=url, version="0")
    said.send(f"http://127.0.0.1:{made.getsockname()[1]}")
    config = server_config(app, host="127.0.0.1", port=0, log_level="critical")
    Server(config, hub).run([made])


def _say(text: str) -> None:
    print(text, file=sys.stderr)
