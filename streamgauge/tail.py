"""`streamgauge tail`: points as they arrive, one line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import orjson
import valkey

from sinks.live import FIELD, LIVE_STREAM, decode_update
from sinks.records import Point, iso
from stream.durations import TOTAL
from streamgauge.terminal import printable

_BLOCK_MS = 500


def tail(
    client: valkey.Valkey, metric: str | None, out: IO[str], *, as_json: bool, stopped: Callable[[], bool]
) -> None:
    """Print points that arrive from now on until `stopped`. Raises ValkeyError when the server is away."""
    offset: Any = b"0-0"
    newest: Any = client.xrevrange(LIVE_STREAM, count=1)
    if newest:
        # A fixed place rather than "$", which would skip what arrives between two reads.
        offset = newest[0][0]
    while not stopped():
        reply: Any = client.xread({LIVE_STREAM: offset}, count=100, block=_BLOCK_MS)
        for entry_id, fields in reply[0][1] if reply else ():
            offset = entry_id
            try:
                points = decode_update(fields[FIELD]).points
            except (ValueError, KeyError):
                continue
            for point in points:
                # The window that never closes would say the same again and again, dated 1970.
                if (metric is None or point.metric == metric) and point.window != TOTAL:
                    out.write(orjson.dumps(point.to_json()).decode() if as_json else line(point))
                    out.write("\n")
        out.flush()


def line(point: Point) -> str:
    """`2015-09-12T00:00:00Z  edits@1d{channel=#en.wikipedia}  1234  final`."""
    labels = ",".join(f"{name}={value}" for name, value in point.dimensions)
    series = f"{point.metric}@{point.window}" + (f"{{{labels}}}" if labels else "")
    return f"{iso(point.start_ms)}  {printable(series)}  {point.value}  {point.state.value}"
