"""What clients that stop reading do to the others, and how soon they are gone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from benchmarks.engine.place import Place
from benchmarks.hub.crowd import Crowd
from benchmarks.hub.kernel import Connections
from benchmarks.hub.served import Served, served, stamped

KEYS = ("stalled_effect", "stalled_evicted_s")
HEALTHY, STALLED = 500, 25
PER_S = 10.0
SERIES = 40
"""Series of a board, all of which change each time: a frame of some 6 KB. Before anybody can notice that nobody reads,
the buffers of the kernel have to be full."""
HELLO = '{"op":"hello","topics":["metric:load@1m"]}'
_RECEIVE_BYTES = 4_096
_WARM_UP_S = 3.0
_EVICTED_WITHIN_S = 60.0
_LOOK_S = 0.05
_ADDRESS = "127.0.0.1"


@dataclass
class Stalls:
    with_ms: list[float] = field(default_factory=list)
    """p99 of the healthy with stalled ones beside them, of each round, milliseconds."""
    without_ms: list[float] = field(default_factory=list)
    evicted_s: list[float] = field(default_factory=list)
    """Of each stalled client: from when it stopped reading to when the server let go of it."""
    reset: int = 0
    """Stalled clients that were told, by a reset."""
    frame_bytes: float = 0.0

    @property
    def effect(self) -> float:
        return statistics.median(a / b for a, b in zip(self.with_ms, self.without_ms, strict=True))


def measure(where: Place, rounds: int, seconds: float, say: Callable[[str], None]) -> Stalls:
    """Turns with and without, so many of each in one run, there and back.

    A turn with stalled clients begins when all of them have stopped reading, and is long enough that they are evicted
    in it.
    """
    found = Stalls()
    numbers = count(1)
    parts = [(("part", f"part-{number:02}"),) for number in range(SERIES)]
    with (
        served(where) as api,
        Crowd() as crowd,
        api.publishing(lambda: [stamped("load", part, number) for number in [next(numbers)] for part in parts], PER_S),
    ):
        crowd.connect("healthy", HEALTHY, api.port, [HELLO], ready_after=2, timed=True)
        time.sleep(_WARM_UP_S)
        for number in range(rounds):
            for stalled in (True, False) if number % 2 else (False, True):
                p99_ms = _turn(api, crowd, found, seconds, stalled=stalled)
                (found.with_ms if stalled else found.without_ms).append(p99_ms)
            say(f"round {number + 1}: p99 {found.without_ms[-1]:.1f} ms, with stalled {found.with_ms[-1]:.1f} ms")
        seen = crowd.counts("healthy")
        if seen.lost:
            raise RuntimeError(f"{len(seen.lost)} of {HEALTHY} healthy clients were lost")
        found.frame_bytes = seen.bytes / seen.frames
    return found


def _turn(api: Served, crowd: Crowd, found: Stalls, seconds: float, *, stalled: bool) -> float:
    stalled_at: dict[int, float] = {}
    if stalled:
        # A slow reader in a small window, as a phone in a lift is.
        crowd.connect("stalled", STALLED, api.port, [HELLO], ready_after=2, stalls=True, receive_bytes=_RECEIVE_BYTES)
        stalled_at = crowd.counts("stalled").stalled_at
    crowd.latencies_us("healthy")
    begun_s = time.monotonic()
    gone_at: dict[int, float] = {}
    with closing(Connections()) as connections:
        _watch(connections, api.port, stalled_at, gone_at, begun_s + seconds)
        time.sleep(max(0.0, begun_s + seconds - time.monotonic()))
        late_us = crowd.latencies_us("healthy")
        _watch(connections, api.port, stalled_at, gone_at, begun_s + _EVICTED_WITHIN_S)
    if stalled_at.keys() != gone_at.keys():
        raise RuntimeError(f"of {STALLED} stalled clients, {len(gone_at)} were evicted in {_EVICTED_WITHIN_S:.0f} s")
    if stalled:
        found.evicted_s += [at_s - stalled_at[number] for number, at_s in gone_at.items()]
        found.reset += len(crowd.counts("stalled").lost)
        crowd.close("stalled")
    return float(np.percentile(late_us, 99)) / 1_000


def _watch(
    connections: Connections, port: int, stalled_at: Mapping[int, float], gone_at: dict[int, float], until_s: float
) -> None:
    """Note when the server lets go of each stalled client, until it has let go of all.

    A connection with bytes in its buffers that nobody takes does not end for the client when the server closes it: the
    end waits behind the bytes. So it is the server's socket that is looked at.
    """
    while (left := stalled_at.keys() - gone_at.keys()) and time.monotonic() < until_s:
        for number in left:
            if not connections.is_open((_ADDRESS, port), (_ADDRESS, number)):
                gone_at[number] = time.monotonic()
        time.sleep(_LOOK_S)
