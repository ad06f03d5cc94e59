"""The backlog that all contenders read, made once: the same events in up to three forms."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from itertools import islice

import valkey

from benchmarks.engine_catalog import events

SINGLE = "bench:single"
"""One event an entry, in the field `data`."""
BATCHED = "bench:batched"
"""Arrays of 100 events, in the field `batch`."""
HALVES = ("bench:half:0", "bench:half:1")
"""Every second event each, one an entry."""

ARRAY = 100
_ASIDE = "bench:aside:"
_PER_SECOND = 5_000
_AGO_MS = 60_000
_CHUNK = 10_000


def fill(client: valkey.Valkey, count: int, wanted: Collection[str]) -> None:
    """Add `count` events to each of the `wanted` streams (half of them each to HALVES), in the order of their time.

    They are of the last minutes, 5,000 for each second, so that nothing is late or in the future.
    """
    start_ms = time.time_ns() // 1_000_000 - count * 1_000 // _PER_SECOND - _AGO_MS
    made = events(count, start_ms=start_ms, per_second=_PER_SECOND)
    while chunk := list(islice(made, _CHUNK)):
        pipe = client.pipeline(transaction=False)
        for number, event in enumerate(chunk):
            if SINGLE in wanted:
                pipe.xadd(SINGLE, {"data": event})
            if HALVES[0] in wanted:
                pipe.xadd(HALVES[number % 2], {"data": event})
        if BATCHED in wanted:
            for at in range(0, len(chunk), ARRAY):
                pipe.xadd(BATCHED, {"batch": b"[" + b",".join(chunk[at : at + ARRAY]) + b"]"})
        pipe.execute()


def aside(client: valkey.Valkey, streams: Sequence[str]) -> None:
    """Take the backlog away, for `at_once` to bring it back."""
    for stream in streams:
        client.rename(stream, _ASIDE + stream)


def at_once(client: valkey.Valkey, streams: Sequence[str]) -> int:
    """Make the whole backlog appear under its names at one moment. Returns that moment by the server's clock, epoch ms.

    The processor is up by then, so what it takes to start is not in its rate, and all that it reads is.
    """
    pipe = client.pipeline(transaction=True)
    pipe.time()
    for stream in streams:
        pipe.delete(stream)  # the processor may have made an empty one for its group
        pipe.rename(_ASIDE + stream, stream)
    (seconds, micros), *_ = pipe.execute()
    return int(seconds) * 1_000 + int(micros) // 1_000
