"""Waiting for an event, but not for ever."""

from __future__ import annotations

import asyncio
import contextlib


async def set_within(event: asyncio.Event, within_s: float) -> bool:
    """Whether it is set, after waiting for that for so long.

    Not by `asyncio.wait_for`, which in Python 3.11 returns as if nothing had been when it is cancelled as the event is
    set; what waits in a loop would then go on for ever.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()
