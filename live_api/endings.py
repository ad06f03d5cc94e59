"""Ending tasks that may not hear of it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.5


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` until they have ended; what they raise is for their own callbacks.

    Once is not enough: `asyncio.wait_for` of Python 3.11, with which Valkey's client sends, returns as if nothing had
    been if the send ends in the very turn in which it is cancelled, and a task that loops then goes on for ever.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
