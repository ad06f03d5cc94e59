"""When the hub ticks, checks its lines and goes: the only part of it that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from live_api.feed import Feed
from live_api.hub import Hub
from live_api.waiting import set_within

STATE_WITHIN_S = 0.25
"""How soon a change of state behind the hub is noticed when nothing comes in."""
_GATHER_S = 0.002
"""What comes in together goes out together."""
_BATCH, _BATCH_EVERY_S = 200, 0.05
"""How many clients are told goodbye at once, and how often: each of them tells the kernel, and then its own page."""


async def run(hub: Hub, feed: Feed, *, clock: Callable[[], int]) -> None:
    """Tick until cancelled: soon after something has come in, and at most every `tick_ms`."""
    loop = asyncio.get_running_loop()
    ticked_at = 0.0
    while True:
        await set_within(feed.arrived, STATE_WITHIN_S)
        # The processor ticks as often as this does. Waiting the whole time after the last tick would miss every
        # other of its by a hair; a little less, and each is passed on as it comes.
        await asyncio.sleep(max(_GATHER_S, ticked_at + 0.8 * hub.tick_ms / 1_000 - loop.time()))
        feed.arrived.clear()
        ticked_at = loop.time()
        # Before the stream has been read to its end for the first time, what it says is of the past.
        if feed.settled:
            hub.tick(clock())
            if feed.been_read:
                feed.first_read.set()
        hub.sweep()
        hub.meters.turned()


async def drain(hub: Hub, within_s: float, accepts_per_s: float) -> None:
    """Tell every client to come back at a time of its own, a few at a time, and close; cut who is left in the end."""
    loop = asyncio.get_running_loop()
    hub.draining = True
    deadline = loop.time() + within_s
    # As long as it takes to let all of them in again, at the rate at which that is done.
    spread_ms = max(3_000, int(1_000 * len(hub) / accepts_per_s))
    while True:
        left = hub.dismiss_some(_BATCH, spread_ms)
        if not left or loop.time() >= deadline:
            break
        await asyncio.sleep(_BATCH_EVERY_S)
    hub.cut_all()
    # Lines that are written to by a task have not written yet.
    await asyncio.sleep(_BATCH_EVERY_S)
