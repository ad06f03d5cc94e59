"""A contender: read and parse, nothing else. `python -m benchmarks.engine.peer_drain dicts|lists URL STREAM COUNT`.

With `lists` the client leaves the server's replies as nested lists in place of making dicts of them.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import orjson
import valkey

from benchmarks.engine.turn import say


def main(replies: str, url: str, stream: str, count: int) -> None:
    raw = replies == "lists"
    client = valkey.Valkey.from_url(url)
    if raw:
        client.set_response_callback("XREAD", lambda reply, **_: reply)
    client.ping()
    seen = 0
    last: Any = b"0"
    started = time.perf_counter()
    while seen < count:
        reply: Any = client.xread({stream: last}, count=1_000)
        entries = reply[0][1]
        if raw:
            for _, fields in entries:
                orjson.loads(fields[1])
        else:
            for _, fields in entries:
                orjson.loads(fields[b"data"])
        seen += len(entries)
        last = entries[-1][0]
    say(seen, time.perf_counter() - started)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
