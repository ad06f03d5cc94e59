"""Upserts into the store, as a processor makes them: batches of open points that are rewritten, and those that close.

PostgreSQL is measured too where it is installed, with its own way of making commits last; what comes of it goes to
standard error.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from sinks.records import Point, State
from sinks.store import Store
from tests.postgres import running_postgres

_SERIES = 2_000
_ROUNDS = 60
_EMITTED = 10
"""How often a window is emitted before the next begins."""
_START_MS = 1_442_016_000_000
_MINUTE_MS = 60_000


def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="streamgauge-store-") as directory:
        rate = _rate(f"sqlite:///{directory}/points.db")
        size = Path(directory, "points.db").stat().st_size
        print(f"SQLite: {rate:,.0f} points/s, {size / 1e6:,.1f} MB", file=sys.stderr)
    try:
        with running_postgres(durable=True) as server, server.database() as name:
            print(f"PostgreSQL: {_rate(server.url(name)):,.0f} points/s", file=sys.stderr)
    except RuntimeError as error:
        print(f"PostgreSQL: not measured: {error}", file=sys.stderr)
    return {"store_points_per_s": rate}


def _rate(url: str) -> float:
    """Points a second, in the median of all batches."""
    store = Store(url)
    store.setup()
    took_s = []
    for points in _batches():
        started = time.perf_counter()
        store.write(points)
        took_s.append((time.perf_counter() - started) / len(points))
    store.close()
    # Without the first windows, in which every series is new.
    return 1 / median(took_s[_EMITTED:])


def _batches() -> Iterator[list[Point]]:
    """Every series once a batch in the window that is open; with its first, the final points of the one before."""
    dimensions = [(("channel", f"#channel-{i % 100}"), ("platform", f"platform-{i // 100}")) for i in range(_SERIES)]
    for number in range(_ROUNDS):
        window, emitted = divmod(number, _EMITTED)
        start_ms = _START_MS + window * _MINUTE_MS
        watermark_ms = start_ms + emitted * 6_000
        points = [
            Point(
                "views", "1m", start_ms, dimensions[i], i * 1.5 + emitted, emitted + 1, State.OPEN, emitted + 1,
                watermark_ms,
            )
            for i in range(_SERIES)
        ]  # fmt: skip
        if emitted == 0 and window:
            points += [
                Point("views", "1m", start_ms - _MINUTE_MS, key, i * 1.5 + 10, 10, State.FINAL, 11, watermark_ms)
                for i, key in enumerate(dimensions)
            ]
        yield points
