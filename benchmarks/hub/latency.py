"""How late 2,000 screens are at 10 updates a second, and what that costs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count

import numpy as np

from benchmarks.engine.place import Place
from benchmarks.hub.costs import cpu_s
from benchmarks.hub.crowd import Crowd
from benchmarks.hub.served import served, stamped

KEYS = ("p99_ms_2000x10hz", "core_share")
CLIENTS = 2_000
PER_S = 10.0
HELLO = '{"op":"hello","topics":["metric:total@1m"]}'
_WARM_UP_S = 3.0


@dataclass(frozen=True)
class Latency:
    """Of each frame at each client: from before the XADD in the processor's sink to having read it, milliseconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    frames_per_s: float
    whole: float
    """Frames that came over those that were to come."""
    core_share: float
    """Of the API process: the live stream read, and all frames sent."""
    clients_core_share: float


def measure(where: Place, clients: int, seconds: float) -> Latency:
    numbers = count(1)
    with (
        served(where) as api,
        Crowd() as crowd,
        api.publishing(lambda: [stamped("total", (), next(numbers))], PER_S),
    ):
        crowd.connect("all", clients, api.port, [HELLO], ready_after=2, timed=True)
        time.sleep(_WARM_UP_S)
        crowd.latencies_us("all")
        begun_s, cpu, clients_cpu = time.monotonic(), cpu_s(api.pid), crowd.cpu_s
        time.sleep(seconds)
        took_s, cpu, clients_cpu = time.monotonic() - begun_s, cpu_s(api.pid) - cpu, crowd.cpu_s - clients_cpu
        late_ms = np.array(crowd.latencies_us("all")) / 1_000
    return Latency(
        p50_ms=float(np.percentile(late_ms, 50)),
        p99_ms=float(np.percentile(late_ms, 99)),
        max_ms=float(late_ms.max()),
        frames_per_s=len(late_ms) / took_s,
        whole=len(late_ms) / (clients * PER_S * took_s),
        core_share=cpu / took_s,
        clients_core_share=clients_cpu / took_s,
    )
