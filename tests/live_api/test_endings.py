from __future__ import annotations

import asyncio
import contextlib

from live_api.endings import end


async def _deaf(times: int) -> None:
    """As a loop around a call that swallows the first cancellations."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if not times:
                raise
            times -= 1


def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    async def run() -> None:
        tasks = [asyncio.create_task(_deaf(times)) for times in range(3)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await end(tasks)
        assert all(task.cancelled() for task in tasks)

    asyncio.run(run())


def test_what_has_ended_or_fails_is_no_matter() -> None:
    async def fails() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        raise ValueError("while it ended")

    async def run() -> None:
        done, failing = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(fails())
        await done
        await end([done, failing])
        assert isinstance(failing.exception(), ValueError)
        await end([])

    asyncio.run(run())
