"""A contender: the consumer one writes by hand. `python -m benchmarks.engine.peer_consumer URL STREAM COUNT`.

It counts events by country and 10 s, and acknowledges each thousand. State in memory only: a crash would lose it.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from typing import Any

import valkey

from benchmarks.engine.turn import say

_GROUP, _NAME = "bench-consumer", "one"


def main(url: str, stream: str, count: int) -> None:
    client = valkey.Valkey.from_url(url)
    client.xgroup_create(stream, _GROUP, id="0")
    counts: defaultdict[tuple[str, int], int] = defaultdict(int)
    seen = 0
    started = time.perf_counter()
    while seen < count:
        reply: Any = client.xreadgroup(_GROUP, _NAME, {stream: ">"}, count=1_000)
        for _, entries in reply:
            for _, fields in entries:
                event = json.loads(fields[b"data"])
                counts[event["country"], event["time"] // 10_000] += 1
            client.xack(stream, _GROUP, *[entry_id for entry_id, _ in entries])
            seen += len(entries)
    took = time.perf_counter() - started
    assert sum(counts.values()) == seen
    client.xgroup_destroy(stream, _GROUP)
    say(seen, took)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
