"""Our side, saturated: the API process as it is served, with a loop in it that ticks the hub as fast as it goes.

`python -m benchmarks.hub.ours URL PORT`. Each turn puts one changed point in, ticks, and lets the event loop run, which
is what the feed and the ticker do ten times a second. The application, the server, its settings and its
WebSocket protocol are those of `streamgauge serve`. Reading the live stream is not in it: the feed reads an idle one.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks.hub.costs import raise_file_limit
from live_api import ticker
from live_api.app import create_app, serve
from live_api.feed import Feed
from live_api.hub import Hub
from live_api.latest import seq_of
from sinks.records import Point, State
from stream.catalog import parse

METRIC, WINDOW, START_MS = "load", "1m", 1_700_000_000_000
HELLO = '{"op":"hello","topics":["metric:load@1m"]}'
PADDING = "x" * 56
"""Twice in each frame, in the key of the series and in its dimensions: with it a frame is of 300 bytes."""
_CATALOG = """
[platform]
name = "bench"

[[metric]]
name = "load"
measure = "sum"
value = "n"
by = ["pad"]
windows = ["1m"]
"""


async def drive(hub: Hub, feed: Feed, *, clock: Callable[[], int]) -> None:
    """In place of `ticker.run`: the same, without waiting for anything to come in."""
    feed.first_read.set()  # which the ticker does, and for which every client waits
    for number in count(1):
        now_ms = clock()
        point = Point(METRIC, WINDOW, START_MS, (("pad", PADDING),), 1_000_000_000 + number, 1, State.OPEN, 1, 0)
        hub.latest.apply([point], seq_of(f"{now_ms}-{number % 1_000}"))
        hub.tick(now_ms)
        hub.sweep()
        await asyncio.sleep(0)


def main(url: str, port: int) -> None:
    raise_file_limit()
    ticker.run = drive
    with tempfile.TemporaryDirectory(prefix="hub-") as directory:
        store = f"sqlite:///{Path(directory) / 'points.db'}"
        app, hub = create_app(parse(_CATALOG), valkey_url=url, store_url=store, version="bench")
        serve(app, hub, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
