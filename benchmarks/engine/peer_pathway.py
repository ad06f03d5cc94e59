# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["pathway==0.33.0", "orjson>=3.13", "valkey[libvalkey]>=6.2"]
# ///
"""A contender: Pathway, fed by its Python connector. `python peer_pathway.py URL STREAM COUNT`.

It counts events by country and 10 s. It runs in an environment of its own, as it insists on an older python-dateutil
than the lock has, so nothing of this project is imported here. Without PATHWAY_LICENSE_KEY and
PATHWAY_MONITORING_SERVER, which whoever starts it takes away, it speaks to the Valkey server and nobody else.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import orjson
import pathway as pw
import valkey


class _Event(pw.Schema):
    country: str
    window: int


class _Read(pw.io.python.ConnectorSubject):
    def __init__(self, url: str, stream: str, count: int) -> None:
        super().__init__(datasource_name="backlog")
        self._client = valkey.Valkey.from_url(url)
        self._client.ping()
        self._stream = stream
        self._left = count
        self.begun = 0.0

    def run(self) -> None:
        self.begun = time.perf_counter()
        last = b"0"
        while self._left > 0:
            reply: Any = self._client.xread({self._stream: last}, count=1_000)
            entries = reply[0][1][: self._left]
            for _, fields in entries:
                event = orjson.loads(fields[b"data"])
                self.next(country=event["country"], window=event["time"] // 10_000)
            self._left -= len(entries)
            last = entries[-1][0]

    @property
    def _deletions_enabled(self) -> bool:
        return False  # its documents name this as the faster way where nothing is ever taken back


def main(url: str, stream: str, count: int) -> None:
    source = _Read(url, stream, count)
    # Results come each 1.5 s, its own default; each 100 ms it was no slower and no faster.
    events = pw.io.python.read(source, schema=_Event)
    counts = events.groupby(pw.this.country, pw.this.window).reduce(
        pw.this.country, pw.this.window, n=pw.reducers.count()
    )
    latest: dict[Any, int] = {}
    ended: list[float] = []

    def changed(key: Any, row: dict[str, int], time: int, is_addition: bool) -> None:
        if is_addition:
            latest[key] = row["n"]

    def settled(time_: int) -> None:
        ended[:] = [time.perf_counter()]

    pw.io.subscribe(counts, on_change=changed, on_time_end=settled)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE, with_http_server=False)
    assert sum(latest.values()) == count, f"expected {count} events, counted {sum(latest.values())}"
    print(json.dumps({"events": count, "seconds": ended[0] - source.begun}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
