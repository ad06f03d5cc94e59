"""Our side, saturated: the API process as it is served, with a loop in it that ticks the hub as fast as it goes.

`python -m benchmarks.hub.ours URL PORT`. Each turn puts one changed point in, ticks, and lets the event loop run, which
is what the processor, the feed and `Hub.run` do ten times a second. The application, the server, its settings and its
WebSocket protocol are those of `streamgauge serve`. Reading the live stream is not in it: the feed reads an idle one.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from itertools import count
from pathlib import Path

from benchmarks.hub.costs import raise_file_limit
from live_api.app import create_app, serve
from live_api.hub import Hub
from live_api.latest import Latest
from sinks.records import Point, State
from stream.catalog import parse
from stream.walltime import clock_ms

METRIC, WINDOW, START_MS = "load", "1m", 1_700_000_000_000
HELLO = '{"op":"hello","topics":["metric:load@1m"]}'
PADDING = "x" * 59
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


async def drive(hub: Hub, latest: Latest) -> None:
    """In place of `Hub.run`."""
    for seq in count(1):
        point = Point(METRIC, WINDOW, START_MS, (("pad", PADDING),), 100_000_000 + seq, 1, State.OPEN, 1, 0)
        latest.apply([point])
        hub.tick(clock_ms())
        await asyncio.sleep(0)


def main(url: str, port: int) -> None:
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="hub-") as directory:
        store = f"sqlite:///{Path(directory) / 'points.db'}"
        app, hub = create_app(parse(_CATALOG), valkey_url=url, store_url=store, version="bench")
        hub.run = lambda: drive(hub, hub._latest)  # type: ignore[method-assign]
        serve(app, hub, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
