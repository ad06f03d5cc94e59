"""What an idle client costs in memory."""

from __future__ import annotations

import time
from itertools import count

from benchmarks.engine.place import Place
from benchmarks.hub.costs import rss_bytes
from benchmarks.hub.crowd import Crowd
from benchmarks.hub.latency import HELLO
from benchmarks.hub.served import served, stamped

FEW, MANY = 1_000, 3_000
_UPDATES_S = 3.0
_SETTLE_S = 12.0
"""Two heartbeats, and a sign of life asked of each."""


def kb_per_client(where: Place) -> float:
    """Growth of the API's resident memory from FEW to MANY clients, KiB for each of those between.

    Each has had its snapshot and some seconds of updates before it is idle. What the kernel keeps for a connection is
    not in it.
    """
    numbers = count(1)
    with served(where) as api, Crowd() as crowd:

        def rss_with(name: str, more: int) -> int:
            with api.publishing(lambda: [stamped("total", (), next(numbers))], 1):
                crowd.connect(name, more, api.port, [HELLO], ready_after=2)
                time.sleep(_UPDATES_S)
            time.sleep(_SETTLE_S)
            seen = crowd.counts(name)
            if seen.lost:
                raise RuntimeError(f"{len(seen.lost)} of {more} idle clients were lost")
            return rss_bytes(api.pid)

        few = rss_with("few", FEW)
        return (rss_with("more", MANY - FEW) - few) / (MANY - FEW) / 1_024
